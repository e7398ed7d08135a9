#include "cpu/quantize/quantize.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/quantize/kernels.h"
#include "cpu/weight/weight.h"

namespace llmkit {
namespace {

/// Elements that a thread has in float32 at one time, unless a group is larger: 32 KB.
constexpr size_t kRunSize = 8192;

const QuantizeKernels& kernels() {
#define QUANTIZE_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/quantize/kernels.inc"
#undef QUANTIZE_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

bool has_nibbles(WeightFormat format) { return format != WeightFormat::kInt8; }

/// The code of the half byte after an odd number of codes.
uint8_t filler(WeightFormat format) { return format == WeightFormat::kNf4 ? 7 : 0; }

/// One matrix in runs of whole groups and whole bytes.
class Quantizer {
 public:
  Quantizer(const WeightView& values, const QuantizeSpec& spec, const QuantizedParts& parts)
      : values_(values), spec_(spec), parts_(parts), size_(values.rows * values.cols) {
    const size_t unit = spec.group_size % 2 == 0 ? spec.group_size : 2 * spec.group_size;
    run_ = unit * std::max<size_t>(1, kRunSize / unit);
  }

  size_t runs() const { return (size_ + run_ - 1) / run_; }

  bool quantize_run(size_t index, SquareSums& sums) const {
    const size_t begin = index * run_, count = std::min(run_, size_ - begin);
    const size_t group = begin / spec_.group_size;
    float* const floats = scratch(Scratch::kDecoded, run_);
    weight_f32().decode(values_, begin, count, floats);
    QuantizeRun run = {floats, count, {nullptr, parts_.scales + group, nullptr}};
    if (spec_.zero_points) run.parts.zeros = parts_.zeros + group;
    if (!has_nibbles(spec_.format)) {
      run.parts.codes = parts_.codes + begin;
      return kernels().groups(spec_, run, sums);
    }
    auto* const codes = reinterpret_cast<uint8_t*>(scratch(Scratch::kPanel, run_ / 4 + 1));
    run.parts.codes = codes;
    if (!kernels().groups(spec_, run, sums)) return false;
    codes[count] = filler(spec_.format);
    const bool high_first = spec_.format != WeightFormat::kInt4;
    kernels().pack_nibbles(codes, (count + 1) / 2, high_first, parts_.codes + begin / 2);
    return true;
  }

 private:
  const WeightView& values_;
  const QuantizeSpec& spec_;
  const QuantizedParts& parts_;
  size_t size_, run_;
};

SquareSums total(const std::vector<SquareSums>& runs) {
  SquareSums sums;
  for (const SquareSums& run : runs) {
    sums.values += run.values;
    sums.errors += run.errors;
  }
  return sums;
}

}  // namespace

std::optional<SquareSums> quantize(const WeightView& values, const QuantizeSpec& spec,
                                   const QuantizedParts& parts) {
  const Quantizer quantizer(values, spec, parts);
  std::vector<SquareSums> sums(quantizer.runs());
  std::atomic<bool> finite{true};
  parallel_for(quantizer.runs(), 1, [&](size_t begin, size_t end) {
    for (size_t run = begin; run < end && finite; ++run)
      if (!quantizer.quantize_run(run, sums[run])) finite = false;
  });
  return finite ? std::optional(total(sums)) : std::nullopt;
}

SquareSums quantization_error(const WeightView& values, const WeightView& quantized) {
  constexpr size_t kRun = 4096;
  const size_t size = values.rows * values.cols;
  std::vector<SquareSums> runs((size + kRun - 1) / kRun);
  parallel_for(runs.size(), 4, [&](size_t begin, size_t end) {
    float* const before = scratch(Scratch::kDecoded, 2 * kRun);
    float* const after = before + kRun;
    for (size_t run = begin; run < end; ++run) {
      const size_t at = run * kRun, count = std::min(kRun, size - at);
      weight_f32().decode(values, at, count, before);
      weight_f32().decode(quantized, at, count, after);
      runs[run] = kernels().square_sums(before, after, count);
    }
  });
  return total(runs);
}

}  // namespace llmkit
