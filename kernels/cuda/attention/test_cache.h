#pragma once

#include "cpu/attention/cached_reference.h"
#include "cuda/attention/kv_cache.h"
#include "cuda/attention/test_problem.h"

// A sequence through a cache, in chunks.

namespace llmkit::cuda::testing {

/// Memory of a cache that is given back when the test is over.
class TestMemory {
 public:
  ~TestMemory() {
    cudaStreamSynchronize(stream());
    for (void* block : blocks_) cudaFree(block);
  }
  CacheMemory functions() {
    return {[this](size_t bytes) {
              void* block = nullptr;
              expect(cudaMalloc(&block, bytes), "cudaMalloc");
              blocks_.push_back(block);
              return block;
            },
            [](void*) {},
            [](void* to, const void* from, size_t bytes) {
              expect(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()), "upload");
              expect(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
            }};
  }

 private:
  std::vector<void*> blocks_;
};

inline std::vector<float> attend_cached(const AttentionArgs& args, const CacheStep& step,
                                        const CachePages& pages) {
  DeviceVector<float> y(args.B * args.T * args.H * args.E);
  DeviceVector<char> workspace(cached_attention_workspace(args, pages));
  expect(cached_attention(args, step, pages, y.data(), workspace.data(), stream()), "cached");
  return y.values();
}

/// One step: new keys of all rows from `position` on; what the queries see is the problem's.
/// `ahead`: keys that the rows might have at most.
inline std::vector<float> step(KvCache& cache, const AttentionArgs& args,
                               const std::vector<int32_t>& positions,
                               const DeviceVector<float>* cos, const DeviceVector<float>* sin,
                               size_t half, size_t offset, size_t ahead) {
  expect(cache.reserve(positions.data(), args.T, stream()), "reserve");
  const DeviceVector<int32_t> on_device(positions);
  CacheStep step = {on_device.data(), nullptr, nullptr, half};
  if (cos != nullptr) step.cos = cos->data() + offset;
  if (cos != nullptr) step.sin = sin->data() + offset;
  size_t most = 0;
  for (const int32_t position : positions) most = std::max<size_t>(most, position + args.T);
  return attend_cached(args, step, cache.pages(most + ahead));
}

/// The same where the host takes no part: with room made for `keys` in every row, and a table of
/// the step's own with places for twice as many.
inline std::vector<float> step_by_itself(KvCache& cache, const AttentionArgs& args,
                                         const std::vector<int32_t>& positions, size_t keys) {
  expect(cache.reserve_all(keys, stream()), "reserve_all");
  const size_t places = 2 * keys / kPageKeys + 1;
  const DeviceVector<int32_t> on_device(positions);
  DeviceVector<uint8_t*> table(args.B * places);
  cache.write_table(table.data(), places);
  const CachePages pages = {cache.layout(), table.data(), places, places * kPageKeys};
  return attend_cached(args, {on_device.data(), nullptr, nullptr, 0}, pages);
}

/// cos and sin [T, half] of a sequence.
struct Turns {
  std::vector<float> cos, sin;
  size_t half;
};

/// y of the one sequence of a problem, so many positions a call.
inline std::vector<float> in_chunks(const Problem& problem, bool rounded, KvType type, size_t chunk,
                                    const Turns& turns) {
  const DeviceProblem device(problem, rounded);
  const DeviceVector<float> cos(turns.cos), sin(turns.sin);
  const AttentionArgs& whole = device.args;
  TestMemory memory;
  KvCache cache(1, whole.K, {whole.E, type}, memory.functions());
  std::vector<float> y;
  for (size_t done = 0; done < whole.T; done += chunk) {
    AttentionArgs part = whole;
    part.T = part.S = std::min(chunk, whole.T - done);
    part.q = whole.q.from(done * whole.H * whole.E);
    part.k = whole.k.from(done * whole.K * whole.E);
    part.v = whole.v.from(done * whole.K * whole.E);
    part.first += done;
    part.last += done;
    const bool turned = turns.half > 0;
    const std::vector<float> some =
        step(cache, part, {static_cast<int32_t>(done)}, turned ? &cos : nullptr,
             turned ? &sin : nullptr, turns.half, done * turns.half, done % 3 * 100);
    y.insert(y.end(), some.begin(), some.end());
  }
  return y;
}

/// What that must equal: attention to all keys at once, turned and rounded beforehand.
inline std::vector<float> at_once(const Problem& problem, bool rounded, KvType type,
                                  const Turns& turns) {
  const llmkit::Angles angles = {turns.cos.data(), turns.sin.data(), turns.half};
  const auto as = static_cast<llmkit::KvType>(type);
  Problem made = problem;
  const Shape& s = problem.shape;
  made.q = llmkit::turned(problem.q.data(), s.T, s.H, s.E, angles);
  made.k = llmkit::rounded_rows(llmkit::turned(problem.k.data(), s.T, s.K, s.E, angles), s.E, as);
  made.v = llmkit::rounded_rows(problem.v, s.E, as);
  const DeviceProblem device(made, rounded);
  return attend(device.args).y;
}

}  // namespace llmkit::cuda::testing
