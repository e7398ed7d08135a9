#pragma once

#include <array>
#include <memory>

#include "cuda/binding/memory.h"

namespace llmkit::cuda {

/// One step of decoding, run as often as wanted: first from JavaScript, which records it, then as a
/// captured graph. Each run leaves the tokens of its rows in a ring of pinned host memory, which
/// the host reads while later runs are under way.
class StepGraph {
 public:
  /// Runs that may be unread, each with a place of its own in the ring.
  static constexpr size_t kSlots = 4;

  explicit StepGraph(size_t rows);
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  size_t rows() const { return rows_; }
  /// [kSlots, rows]
  int32_t* ring() const { return ring_.tokens; }
  /// What the step allocates; it must run once with it before it is captured.
  const std::shared_ptr<BlockPool>& arena() const { return arena_; }

  /// What is queued from now on becomes the graph instead of being run.
  void begin_capture();
  /// Throws Error where something in between cannot be part of a graph. The stream is usable again.
  void end_capture();
  /// Queues the graph.
  void replay();
  /// Counts a run whose work has been queued.
  void mark_run();
  /// Waits for the oldest run that has not been read. Returns its tokens, [rows].
  const int32_t* read();
  /// Counts anew: runs that have not been read are forgotten.
  void restart();

 private:
  struct Ring {
    explicit Ring(size_t rows);
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    int32_t* tokens = nullptr;
  };
  struct Event {
    Event();
    ~Event();
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    cudaEvent_t event = nullptr;
  };

  const size_t rows_;
  const std::shared_ptr<BlockPool> arena_;
  const Ring ring_;
  std::array<Event, kSlots> done_;
  cudaGraphExec_t graph_ = nullptr;
  size_t runs_ = 0, read_ = 0;
};

}  // namespace llmkit::cuda
