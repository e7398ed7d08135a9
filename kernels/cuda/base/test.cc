#include "cuda/base/test_kernels.h"
#include "cuda/testing/testing.h"

using namespace llmkit::cuda;
using namespace llmkit::cuda::testing;

namespace {

void check_fill(Checks& checks) {
  for (size_t n : kSizes) {
    DeviceVector<float> to(n + 1);
    expect(fill(to.data(), n, 1.5f, stream()), "fill");
    const std::vector<float> got = to.values();
    for (size_t i = 0; i < n; ++i) checks.that("fill", got[i] == 1.5f);
    checks.that("no value beyond the end", got[n] != got[n]);
  }
}

void check_sums(Checks& checks) {
  constexpr size_t kBlocks = 5, kSize = 256;
  std::vector<float> values(kBlocks * kSize);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 97);  // exact sums
  const DeviceVector<float> from(values);
  DeviceVector<float> by_warps(kBlocks), by_tree(kBlocks);
  expect(sum_blocks(from.data(), kBlocks, by_warps.data(), stream()), "sum_blocks");
  expect(sum_blocks_in_tree(from.data(), kBlocks, by_tree.data(), stream()), "sum in a tree");
  const std::vector<float> warps = by_warps.values(), tree = by_tree.values();
  for (size_t b = 0; b < kBlocks; ++b) {
    float want = 0;
    for (size_t i = 0; i < kSize; ++i) want += values[b * kSize + i];
    checks.that("sum by warps", warps[b] == want);
    checks.that("sum in a tree", tree[b] == want);
  }
}

std::vector<bf16> small_integers(size_t n, unsigned seed) {
  std::vector<bf16> values;
  for (uint8_t byte : random_bytes(n, seed)) values.push_back(bf16(float(byte % 17) - 8));
  return values;
}

/// Products of small integers: exact in every order of sums.
void check_multiply(Checks& checks) {
  for (size_t k : {16, 32, 48, 160}) {
    const std::vector<bf16> a = small_integers(16 * k, 1), b = small_integers(8 * k, 2);
    const DeviceVector<bf16> left(a), right(b);
    DeviceVector<float> c(16 * 8);
    expect(multiply(left.data(), right.data(), k, c.data(), stream()), "multiply");
    const std::vector<float> got = c.values();
    for (size_t m = 0; m < 16; ++m)
      for (size_t n = 0; n < 8; ++n) {
        float want = 0;
        for (size_t i = 0; i < k; ++i) want += float(a[m * k + i]) * float(b[n * k + i]);
        checks.that("mma", got[m * 8 + n] == want);
      }
  }
}

void check_transpose(Checks& checks) {
  const std::vector<bf16> values = small_integers(64, 3);
  const DeviceVector<bf16> from(values);
  DeviceVector<bf16> to(64);
  expect(transpose(from.data(), to.data(), stream()), "transpose");
  const std::vector<bf16> got = to.values();
  for (size_t i = 0; i < 64; ++i)
    checks.that("ldmatrix.trans", float(got[i]) == float(values[i % 8 * 8 + i / 8]));
}

void check_exchange(Checks& checks) {
  DeviceVector<int> results(7 * 32);
  expect(exchange(results.data(), stream()), "exchange");
  const std::vector<int> got = results.values();
  for (int lane = 0; lane < 32; ++lane) {
    const int want[] = {5,
                        lane ^ 3,
                        lane < 2 ? lane : lane - 2,
                        lane > 29 ? lane : lane + 2,
                        lane / 8 * 8,
                        static_cast<int>(0xaaaaaaaau),
                        496};
    for (int i = 0; i < 7; ++i) checks.that("exchange", got[i * 32 + lane] == want[i]);
  }
}

/// A captured launch reads its memory at each replay.
void check_graph(Checks& checks) {
  DeviceVector<float> total(1);
  std::vector<float> values(256, 1);
  DeviceVector<float> from(values);
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  expect(cudaStreamSynchronize(stream()), "synchronize");
  expect(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), "begin");
  expect(sum_blocks(from.data(), 1, total.data(), stream()), "sum_blocks");
  expect(fill(from.data(), 256, 2, stream()), "fill");
  expect(cudaStreamEndCapture(stream(), &graph), "end");
  expect(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  checks.that("nothing ran while it was captured", total.values()[0] != total.values()[0]);
  for (float want : {256.0f, 512.0f}) {
    expect(cudaGraphLaunch(exec, stream()), "launch");
    checks.that("replay", total.values()[0] == want);
  }
  expect(cudaGraphExecDestroy(exec), "destroy");
  expect(cudaGraphDestroy(graph), "destroy");
}

void check_all(Checks& checks) {
  check_fill(checks);
  check_sums(checks);
  check_multiply(checks);
  check_transpose(checks);
  check_exchange(checks);
  check_graph(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
