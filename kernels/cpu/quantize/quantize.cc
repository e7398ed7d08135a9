#include "cpu/quantize/quantize.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/read_file.h"
#include "base/scratch.h"
#include "cpu/quantize/kernels.h"
#include "cpu/weight/weight.h"

namespace llmkit {
namespace {

/// Elements that a thread has in float32 at one time, unless a group is larger: 32 KB.
constexpr size_t kRunSize = 8192;
/// Bytes of a file that a thread reads at one time, unless a run has more: they stay in a
/// second-level cache.
constexpr size_t kReadBytes = size_t{128} << 10;

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

size_t value_bytes(WeightFormat format) { return format == WeightFormat::kF32 ? 4 : 2; }

/// One matrix in runs of whole groups and whole bytes.
class Quantizer {
 public:
  Quantizer(const WeightView& values, const QuantizeSpec& spec, const QuantizedParts& parts,
            const MatrixFile* file)
      : values_(values), spec_(spec), parts_(parts), file_(file), size_(values.rows * values.cols) {
    const size_t unit = spec.group_size % 2 == 0 ? spec.group_size : 2 * spec.group_size;
    run_ = unit * std::max<size_t>(1, kRunSize / unit);
  }

  size_t runs() const { return (size_ + run_ - 1) / run_; }
  /// Runs that are read at one time.
  size_t runs_together() const {
    return std::max<size_t>(1, kReadBytes / (run_ * value_bytes(values_.format)));
  }

  /// Runs begin .. end - 1, each with its sums. False when a value is not finite.
  bool quantize_runs(size_t begin, size_t end, SquareSums* sums) const {
    const WeightView part = values_of(begin * run_, std::min(end * run_, size_));
    bool finite = true;
    for (size_t run = begin; run < end && finite; ++run)
      finite = quantize_run(run, part, (run - begin) * run_, sums[run]);
    return finite;
  }

 private:
  /// Elements begin .. end - 1 as a row.
  WeightView values_of(size_t begin, size_t end) const {
    const size_t bytes = value_bytes(values_.format);
    WeightView part = values_;
    part.rows = 1;
    part.cols = end - begin;
    part.codes += begin * bytes;
    if (file_ == nullptr) return part;
    float* const read = scratch(Scratch::kWidened, (end - begin) * bytes / sizeof(float) + 1);
    const uint64_t from = file_->offset + begin * bytes;
    // Mapped pages say what is wrong with a file that cannot be read.
    if (read_file(file_->descriptor, from, (end - begin) * bytes, read).empty())
      part.codes = reinterpret_cast<const uint8_t*>(read);
    return part;
  }

  bool quantize_run(size_t index, const WeightView& part, size_t place, SquareSums& sums) const {
    const size_t begin = index * run_, count = std::min(run_, size_ - begin);
    const size_t group = begin / spec_.group_size;
    float* const floats = scratch(Scratch::kDecoded, run_);
    weight_f32().decode(part, place, count, floats);
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

  const WeightView& values_;
  const QuantizeSpec& spec_;
  const QuantizedParts& parts_;
  const MatrixFile* file_;
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
                                   const QuantizedParts& parts, const MatrixFile* file) {
  const Quantizer quantizer(values, spec, parts, file);
  const size_t runs = quantizer.runs(), together = quantizer.runs_together();
  std::vector<SquareSums> sums(runs);
  std::atomic<bool> finite{true};
  parallel_for((runs + together - 1) / together, 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end && finite; ++i) {
      const size_t first = i * together, last = std::min(first + together, runs);
      if (!quantizer.quantize_runs(first, last, sums.data())) finite = false;
    }
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
