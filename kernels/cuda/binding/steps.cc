#include <cstring>
#include <memory>

#include "cuda/binding/arguments.h"
#include "cuda/binding/step_graph.h"
#include "cuda/decode_state/decode_state.h"
#include "cuda/sample/sample.h"

namespace llmkit::cuda {
namespace {

/// What newStep returns a handle of: the step, and what its rows read.
struct HeldStep {
  static constexpr uint64_t kMark = 0x6c6c6d6b69745353;  // no other handle begins so
  uint64_t mark = kMark;
  std::unique_ptr<StepGraph> step;  // null once disposed of
  DecodeRows rows;
};

HeldStep& held_step(const Arguments& args) {
  if (!args.value(0).IsExternal()) args.type_error("expected a step");
  HeldStep& held = *args.value(0).As<Napi::External<HeldStep>>().Data();
  if (held.mark != HeldStep::kMark) args.type_error("expected a step");
  if (held.step == nullptr) args.range_error("the step has been disposed of");
  return held;
}

constexpr size_t kMostRows = 1 << 16;

/// newStep(ids, positions, steps)
Napi::Value new_step(const Napi::CallbackInfo& info) {
  const Arguments args(info, "newStep");
  const Ints ids = args.ints(0);
  if (ids.size == 0 || ids.size > kMostRows) args.range_error("the rows are out of range");
  auto held = std::make_unique<HeldStep>();
  held->rows.rows = ids.size;
  held->rows.ids = ids.data;
  held->rows.positions = args.ints(1, ids.size, "positions").data;
  held->rows.steps = args.ints(2, ids.size, "steps").data;
  held->step = std::make_unique<StepGraph>(ids.size);
  return Napi::External<HeldStep>::New(info.Env(), held.release(),
                                       [](Napi::Env, HeldStep* step) { delete step; });
}

/// addStepWindow(step, window, first)
void add_step_window(const Napi::CallbackInfo& info) {
  const Arguments args(info, "addStepWindow");
  DecodeRows& rows = held_step(args).rows;
  if (rows.windows == kMostWindows) args.range_error("too many windows");
  const size_t window = args.positive(1, "window");
  if (window > 0x7fffffff) args.range_error("the window is out of range");
  int32_t* const first = args.ints(2, rows.rows, "first").data;
  rows.window[rows.windows++] = {static_cast<int32_t>(window), first};
}

/// setStepTable(step, offset, tableRows)
void set_step_table(const Napi::CallbackInfo& info) {
  const Arguments args(info, "setStepTable");
  DecodeRows& rows = held_step(args).rows;
  rows.table_offset = static_cast<int32_t>(args.size(1, "offset"));
  rows.table_rows = args.ints(2, rows.rows, "tableRows").data;
}

/// setStepAngles(step, cosTable, sinTable, cos, sin)
void set_step_angles(const Napi::CallbackInfo& info) {
  const Arguments args(info, "setStepAngles");
  DecodeRows& rows = held_step(args).rows;
  const Floats table = args.floats(1), cos = args.floats(3);
  const size_t half = args.quotient(cos.size, rows.rows, "cos");
  if (half == 0) args.range_error("cos must not be empty");
  rows.angle_positions = args.quotient(table.size, half, "cosTable");
  if (rows.angle_positions == 0) args.range_error("cosTable must not be empty");
  rows.half = half;
  rows.cos_table = table.data;
  rows.sin_table = args.floats(2, table.size, "sinTable").data;
  rows.cos = cos.data;
  rows.sin = args.floats(4, cos.size, "sin").data;
}

/// setStepDraws(step, key, streams, behind, uniforms)
void set_step_draws(const Napi::CallbackInfo& info) {
  const Arguments args(info, "setStepDraws");
  DecodeRows& rows = held_step(args).rows;
  rows.draw.key = args.ints(1, 1, "key").data;
  rows.draw.streams = args.ints(2, rows.rows, "streams").data;
  rows.draw.behind = args.ints(3, rows.rows, "behind").data;
  rows.draw.uniforms = reinterpret_cast<double*>(args.floats(4, 2 * rows.rows, "uniforms").data);
}

/// placeStep(step)
void place_step(const Napi::CallbackInfo& info) {
  HeldStep& held = held_step(Arguments(info, "placeStep"));
  check(place_rows(held.rows, stream()), "placeStep");
  held.step->restart();
}

/// endStep(step, logits, chosen, seen, settings, cutsTopK)
void end_step(const Napi::CallbackInfo& info) {
  const Arguments args(info, "endStep");
  const HeldStep& held = held_step(args);
  SampleArgs choice;
  choice.rows = held.rows.rows;
  const Floats logits = args.floats(1);
  choice.vocab = args.quotient(logits.size, choice.rows, "logits");
  choice.logits = logits.data;
  choice.chosen = args.ints(2, choice.rows, "chosen").data;
  uint8_t* seen = nullptr;
  if (!args.value(3).IsNull())
    seen = reinterpret_cast<uint8_t*>(args.ints(3, (logits.size + 3) / 4, "seen").data);
  choice.seen = seen;
  constexpr size_t kSettings = sizeof(SampleSettings) / sizeof(int32_t);
  choice.settings =
      reinterpret_cast<const SampleSettings*>(args.ints(4, kSettings, "settings").data);
  choice.uniforms = held.rows.draw.uniforms;
  choice.temperature = choice.uniforms == nullptr ? 0 : 1;
  choice.top_k = args.flag(5) ? 1 : 0;
  const Scratch workspace = scratch(sample_workspace(choice));
  check(sample(choice, workspace.data(), stream()), "endStep");
  const ChosenTokens tokens = {choice.chosen, held.step->ring(), StepGraph::kSlots, seen,
                               choice.vocab};
  check(advance_rows(held.rows, tokens, stream()), "endStep");
}

/// useStepArena(step), of which null is none
void use_step_arena(const Napi::CallbackInfo& info) {
  const Arguments args(info, "useStepArena");
  use_pool(args.value(0).IsNull() ? nullptr : held_step(args).step->arena());
}

/// beginCapture(step)
void begin_capture_call(const Napi::CallbackInfo& info) {
  held_step(Arguments(info, "beginCapture")).step->begin_capture();
}

/// endCapture(step)
void end_capture_call(const Napi::CallbackInfo& info) {
  held_step(Arguments(info, "endCapture")).step->end_capture();
}

/// markStep(step)
void mark_step(const Napi::CallbackInfo& info) {
  held_step(Arguments(info, "markStep")).step->mark_run();
}

/// replayStep(step)
void replay_step(const Napi::CallbackInfo& info) {
  held_step(Arguments(info, "replayStep")).step->replay();
}

/// readStep(step, ids), ids of the host
void read_step(const Napi::CallbackInfo& info) {
  const Arguments args(info, "readStep");
  StepGraph& step = *held_step(args).step;
  const Ints ids = args.host_ints(1);
  args.expect(ids.size, step.rows(), "ids");
  std::memcpy(ids.data, step.read(), ids.size * sizeof(int32_t));
}

/// disposeStep(step)
void dispose_step(const Napi::CallbackInfo& info) {
  held_step(Arguments(info, "disposeStep")).step.reset();
}

}  // namespace

void add_steps(Napi::Object exports) {
  add_function<new_step>(exports, "newStep");
  add_procedure<add_step_window>(exports, "addStepWindow");
  add_procedure<set_step_table>(exports, "setStepTable");
  add_procedure<set_step_angles>(exports, "setStepAngles");
  add_procedure<set_step_draws>(exports, "setStepDraws");
  add_procedure<place_step>(exports, "placeStep");
  add_procedure<end_step>(exports, "endStep");
  add_procedure<use_step_arena>(exports, "useStepArena");
  add_procedure<begin_capture_call>(exports, "beginCapture");
  add_procedure<end_capture_call>(exports, "endCapture");
  add_procedure<mark_step>(exports, "markStep");
  add_procedure<replay_step>(exports, "replayStep");
  add_procedure<read_step>(exports, "readStep");
  add_procedure<dispose_step>(exports, "disposeStep");
}

}  // namespace llmkit::cuda
