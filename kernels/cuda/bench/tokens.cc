#include <algorithm>

#include "cuda/bench/work.h"
#include "cuda/cross_entropy/cross_entropy.h"
#include "cuda/quantize/quantize.h"
#include "cuda/sample/sample.h"

namespace llmkit::cuda::bench {
namespace {

constexpr size_t kVocab = 128256, kHidden = 4096;

/// One token of each row of logits.
Call open_sample(size_t rows, double temperature, size_t top_k, double top_p, bool dry) {
  SampleArgs args;
  args.rows = rows;
  args.vocab = dry ? 300 : kVocab;
  args.temperature = temperature;
  args.top_k = top_k;
  args.top_p = top_p;
  const MemoryPointer logits = random_floats(args.rows * args.vocab);
  const std::vector<double> half(rows, 0.5);
  const MemoryPointer uniforms = copy_of(half.data(), rows * sizeof(double));
  const MemoryPointer chosen = empty_memory(rows * sizeof(int32_t));
  const MemoryPointer workspace = empty_memory(sample_workspace(args));
  return [=](size_t, cudaStream_t stream) {
    SampleArgs now = args;
    now.logits = logits->as<float>();
    now.uniforms = uniforms->as<double>();
    now.chosen = chosen->as<int32_t>();
    expect(sample(now, workspace->as<void>(), stream), "sample");
  };
}

/// A bf16 matrix to 4 bits.
Call open_quantize(WeightFormat format, size_t group_size, size_t count) {
  const MemoryPointer values = random_bf16(count), codes = empty_memory(count);
  const MemoryPointer scales = empty_memory(count / group_size * sizeof(float) + 1);
  const MemoryPointer sums = empty_memory((count / quantize_run(group_size) + 1) * sizeof(RunSums));
  const MemoryPointer not_finite = empty_memory(sizeof(int32_t));
  return [=](size_t, cudaStream_t stream) {
    QuantizeArgs args = {};
    args.format = WeightFormat::kBf16;
    args.values = values->as<uint8_t>();
    args.count = count;
    args.spec = {format, group_size, ScaleType::kBf16, false};
    args.parts = {codes->as<uint8_t>(), scales->as<float>(), nullptr};
    args.sums = sums->as<RunSums>();
    args.not_finite = not_finite->as<int32_t>();
    expect(quantize(args, stream), "quantize");
  };
}

/// The loss of m rows and its gradient, with a head in bf16.
Call open_loss(size_t m, bool dry) {
  const size_t words = dry ? 300 : kVocab, cols = dry ? 64 : kHidden;
  WeightView view;
  view.format = WeightFormat::kBf16;
  view.rows = words;
  view.cols = cols;
  const MemoryPointer values = random_bf16(words * cols);
  view.codes = values->as<uint8_t>();
  const auto packed = std::make_shared<PackedWeight>(packed_form(view, ScaleType::kNone));
  const MemoryPointer memory = empty_memory(packed_bytes(*packed));
  place_packed(*packed, memory->as<void>());
  expect(pack_weight(view, *packed, nullptr), "pack_weight");
  expect(cudaDeviceSynchronize(), "pack_weight");
  const std::vector<int32_t> one(m, 1);
  const MemoryPointer targets = copy_of(one.data(), m * sizeof(int32_t));
  const MemoryPointer h = random_floats(m * cols), dh = empty_memory(m * cols * sizeof(float));
  const MemoryPointer row_values = random_floats(3 * m);
  CrossEntropyArgs args;
  args.m = m;
  args.head.weight = view;
  args.head.packed = packed.get();
  args.h = h->as<float>();
  args.targets = targets->as<int32_t>();
  CrossEntropyGradArgs grad;
  float* const losses = row_values->as<float>();
  grad.log_sum_exp = losses + m;
  grad.dlosses = losses + 2 * m;
  grad.dh = dh->as<float>();
  const MemoryPointer workspace = empty_memory(
      std::max(cross_entropy_workspace(args), cross_entropy_grad_workspace(args, grad)));
  const std::vector<MemoryPointer> kept = {values, memory, targets, h, dh, row_values};
  return [=](size_t, cudaStream_t stream) {
    static_cast<void>(packed), static_cast<void>(kept);  // what the arguments point to
    expect(cross_entropy(args, losses, losses + m, workspace->as<void>(), stream), "crossEntropy");
    expect(cross_entropy_grad(args, grad, workspace->as<void>(), stream), "crossEntropyGrad");
  };
}

}  // namespace

std::vector<Work> token_works() {
  constexpr size_t kValues = size_t{14336} * 4096, kRows = 1024;
  const auto values = [](bool dry) { return dry ? 8192 : kValues; };
  const double loss = 3 * 2.0 * kRows * kVocab * kHidden;  // logits twice, and their gradient's
  std::vector<Work> works = {
      {"quantize bf16 to int4 on the device", Bound::kCopy, 2.0 * kValues,
       [=](bool dry) { return open_quantize(WeightFormat::kInt4, 128, values(dry)); }},
      {"quantize bf16 to nf4 on the device", Bound::kCopy, 2.0 * kValues,
       [=](bool dry) { return open_quantize(WeightFormat::kNf4, 64, values(dry)); }},
      {"loss and gradient, bf16 head 128256x4096, M=1024", Bound::kMatrix, loss,
       [=](bool dry) { return open_loss(dry ? 3 : kRows, dry); }},
  };
  for (const size_t rows : {1, 32}) {
    const std::string suffix = " of 128256, B=" + std::to_string(rows);
    works.push_back({"greedy token" + suffix, Bound::kNone, 1,
                     [=](bool dry) { return open_sample(rows, 0, 0, 1, dry); }});
    works.push_back({"token by top-p 0.9" + suffix, Bound::kNone, 1,
                     [=](bool dry) { return open_sample(rows, 0.8, 0, 0.9, dry); }});
    works.push_back({"token by top-k 50" + suffix, Bound::kNone, 1,
                     [=](bool dry) { return open_sample(rows, 0.8, 50, 1, dry); }});
  }
  return works;
}

}  // namespace llmkit::cuda::bench
