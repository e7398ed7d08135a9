#include "cpu/packed/layout.h"

#include "base/bf16.h"

namespace llmkit {
namespace {

constexpr size_t kTileRows = 16, kMostColumns = 128, kLeastColumns = 8, kLineBytes = 64;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }
size_t round_up(size_t a, size_t b) { return divide_up(a, b) * b; }

bool has_integers(WeightFormat format) {
  return format == WeightFormat::kInt8 || format == WeightFormat::kInt4;
}

bool is_sound(const PackedForm& form) {
  const bool grouped = form.group > 0;
  if (form.compute == Compute::kF32) return false;
  if (grouped != (form.scale_type != ScaleType::kNone)) return false;
  // With 2^48 elements at most, no size below wraps round.
  if (form.rows > 0 && form.cols > (size_t{1} << 48) / form.rows) return false;
  if (!grouped) return form.compute == Compute::kBf16 && !form.has_zeros;
  if (form.format < WeightFormat::kInt8) return false;
  if (!has_integers(form.format) && (form.compute == Compute::kInt8 || form.has_zeros))
    return false;
  const bool even = form.cols % form.group == 0;
  return form.group >= kLeastColumns && form.group <= kMostColumns &&
         (even || (form.group == kMostColumns && form.cols > kMostColumns));
}

void set_values(WeightFormat format, PackedWeight& weight) {
  for (int code = 0; code < 16; ++code) {
    const float value = format == WeightFormat::kNf4   ? kNf4Values[code]
                        : format == WeightFormat::kFp4 ? kFp4Values[code]
                                                       : static_cast<float>(code - 8);
    weight.values[code] = to_bf16(value);
    const bool exact = weight.compute == Compute::kBf16Dequantized;
    weight.decoded[code] = exact ? value : from_bf16(weight.values[code]);
  }
}

}  // namespace

std::optional<PackedWeight> packed_layout(const PackedForm& form) {
  if (!is_sound(form)) return std::nullopt;
  const bool grouped = form.group > 0, eight = form.format == WeightFormat::kInt8;
  const size_t cols_of_line = !grouped ? 2 : eight ? 4 : 8;
  PackedWeight w;
  w.compute = form.compute;
  w.code = !grouped ? PackedCode::kSixteenBit
           : eight  ? PackedCode::kEightBit
                    : PackedCode::kFourBit;
  w.scale_type = form.scale_type;
  w.has_zeros = form.has_zeros;
  w.rows = form.rows;
  w.cols = form.cols;
  w.tiles = divide_up(form.rows, kTileRows);
  w.group = grouped ? form.group : form.cols;
  w.groups = w.group == 0 ? 0 : divide_up(w.cols, w.group);
  w.group_stride = round_up(w.group, grouped ? cols_of_line : 32);
  w.group_bytes = packed_scale_bytes(w.scale_type) + (w.has_zeros ? kTileRows : 0) +
                  w.group_stride / cols_of_line * kLineBytes;
  w.tile_bytes = w.groups * w.group_bytes;
  if (grouped) set_values(form.format, w);
  return w;
}

PackedForm packed_form(const PackedWeight& weight, WeightFormat stored) {
  const bool grouped = weight.code != PackedCode::kSixteenBit;
  return {stored,
          weight.compute,
          weight.rows,
          weight.cols,
          grouped ? weight.group : 0,
          weight.scale_type,
          weight.has_zeros};
}

}  // namespace llmkit
