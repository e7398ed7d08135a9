#include <fstream>

#include "base/mapped_file.h"
#include "base/parallel.h"
#include "cpu/linear/linear.h"
#include "cpu/packed/layout.h"
#include "cpu/packed/read_ahead.h"
#include "cpu/packed/reference.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

/// What a product of the packed weight is to see in place of an element.
float expected(const WeightView& view, const PackedWeight& w, size_t row, size_t col) {
  const size_t element = row * view.cols + col;
  if (w.code == PackedCode::kSixteenBit) return from_bf16(to_bf16(decode_reference(view, element)));
  if (view.format != WeightFormat::kNf4 && view.format != WeightFormat::kFp4)
    return decode_reference(view, element);
  WeightView table = view;  // its values alone, by scales of 1
  const std::vector<float> ones(element / view.group_size + 1, 1.0f);
  table.scales = ones.data();
  table.nested = {};
  return from_bf16(to_bf16(decode_reference(table, element))) * packed_scale(w, row, col / w.group);
}

/// Every element where packed_weight.h says, and zeros everywhere else.
void check_layout(Checks& checks, const WeightView& view, const PackedWeight& w) {
  for (size_t row = 0; row < w.tiles * 16; ++row)
    for (size_t g = 0; g < w.groups; ++g) {
      const float scale = w.code == PackedCode::kSixteenBit ? 1 : packed_scale(w, row, g);
      if (row >= w.rows && w.code != PackedCode::kSixteenBit) checks.that("no scale", scale == 0);
      for (size_t col = 0; col < w.group_stride; ++col) {
        const size_t k = g * w.group + col;
        if (row >= w.rows || col >= w.group || k >= w.cols) {
          checks.that("padding is zero", packed_bits(w, row, g, col) == 0);
          continue;
        }
        const float got = packed_unscaled(w, row, g, col) * scale;
        const float want = expected(view, w, row, k);
        checks.same("value", &got, &want, 1);
      }
    }
}

void check_sizes(Checks& checks, const WeightView& view, const PackedWeight& w) {
  checks.that("tiles", w.tiles == (view.rows + 15) / 16);
  checks.that("bytes", w.tile_bytes == w.groups * w.group_bytes);
  checks.that("memory", w.memory.size() == w.size_bytes());
  checks.that("aligned", reinterpret_cast<uintptr_t>(w.data) % 64 == 0);
  checks.that("groups", w.group * w.groups >= w.cols && w.group_stride >= w.group);
  if (w.compute == Compute::kInt8) checks.that("integers fit", w.group <= 128);
}

/// The form says all of a weight but its bytes.
void check_form(Checks& checks, const WeightView& view, const PackedWeight& w) {
  const auto again = packed_layout(packed_form(w, view.format));
  if (!again) return checks.that("its form", false);
  checks.that("format of the form", again->compute == w.compute && again->code == w.code);
  checks.that("sizes of the form",
              again->size_bytes() == w.size_bytes() && again->group_bytes == w.group_bytes &&
                  again->group_stride == w.group_stride && again->groups == w.groups);
  checks.that("scales of the form",
              again->scale_type == w.scale_type && again->has_zeros == w.has_zeros);
  checks.that("values of the form", std::memcmp(again->values, w.values, sizeof w.values) == 0);
}

/// Rows read from the packed form, where it keeps the values, have the bits of the stored ones.
void check_rows(Checks& checks, const WeightView& view, const PackedWeight& w) {
  const bool rounded = w.code == PackedCode::kSixteenBit && view.format != WeightFormat::kBf16;
  checks.that("keeps its values", keeps_values(w, view.format) != rounded);
  if (rounded) return;
  const auto last = static_cast<int32_t>(view.rows - 1);
  const std::vector<int32_t> ids = {last, 0, last / 2, last};
  std::vector<float> got(ids.size() * view.cols), want(got.size());
  packed_rows(w, view.format, ids.size(), ids.data(), got.data());
  dequantize_rows(view, ids.size(), ids.data(), want.data());
  checks.same("rows", got.data(), want.data(), got.size());
}

void check_case(Checks& checks, const WeightCase& c) {
  const RandomWeight weight(c);
  for (Compute compute : {Compute::kBf16, Compute::kInt8, Compute::kBf16Dequantized}) {
    const PackedWeight w = pack_weight(weight.view, compute);
    check_sizes(checks, weight.view, w);
    check_layout(checks, weight.view, w);
    check_form(checks, weight.view, w);
    check_rows(checks, weight.view, w);
    const bool integers = c.format == WeightFormat::kInt4 || c.format == WeightFormat::kInt8;
    const bool coded = w.code != PackedCode::kSixteenBit;
    const bool asked = coded && (compute != Compute::kInt8 || integers);
    checks.that("compute", w.compute == (asked ? compute : Compute::kBf16));
  }
}

/// Scales stay in 16 bits where that loses nothing.
void check_scale_types(Checks& checks) {
  const std::vector<uint8_t> codes(64);
  WeightView view;
  view.format = WeightFormat::kInt4;
  view.rows = 2;
  view.cols = 64;
  view.codes = codes.data();
  view.group_size = 32;
  const auto type_of = [&](std::vector<float> scales) {
    view.scales = scales.data();
    const PackedWeight w = pack_weight(view, Compute::kInt8);
    for (size_t i = 0; i < 4; ++i)
      checks.that("the same scale", packed_scale(w, i / 2, i % 2) == scales[i]);
    return w.scale_type;
  };
  checks.that("bf16", type_of({0, 1, -0.5f, 0x1.fep60f}) == ScaleType::kBf16);
  checks.that("f16", type_of({0x1.554p-5f, 65504, 0x1p-24f, -0x1.8p-23f}) == ScaleType::kF16);
  checks.that("too fine", type_of({1, 1, 1, 0x1.002p0f}) == ScaleType::kF32);
  checks.that("too large", type_of({1, 0x1.004p0f, 1, 65536}) == ScaleType::kF32);
  checks.that("too small", type_of({1, 0x1.004p0f, 1, 0x1p-25f}) == ScaleType::kF32);
  checks.that("half a step", type_of({1, 0x1.004p0f, 1, 0x1.8p-24f}) == ScaleType::kF32);
}

/// Forms that no weight is packed in: kept bytes must not be read by them.
void check_refused_forms(Checks& checks) {
  const PackedForm good = {WeightFormat::kInt4, Compute::kInt8, 20, 96, 32, ScaleType::kF16, true};
  checks.that("a form", packed_layout(good).has_value());
  const auto refused = [&](const char* what, void (*change)(PackedForm&)) {
    PackedForm form = good;
    change(form);
    checks.that(what, !packed_layout(form).has_value());
  };
  refused("f32", [](PackedForm& form) { form.compute = Compute::kF32; });
  refused("no scales", [](PackedForm& form) { form.scale_type = ScaleType::kNone; });
  refused("no groups", [](PackedForm& form) { form.group = 0; });
  refused("small groups", [](PackedForm& form) { form.group = 4; });
  refused("large groups", [](PackedForm& form) { form.group = form.cols = 192; });
  refused("uneven groups", [](PackedForm& form) { form.group = 64; });
  refused("groups of 16 bits", [](PackedForm& form) { form.format = WeightFormat::kBf16; });
  refused("sizes that wrap round", [](PackedForm& form) { form.rows = size_t{1} << 60; });
  refused("zero points of nf4", [](PackedForm& form) {
    form.format = WeightFormat::kNf4;
    form.compute = Compute::kBf16;
  });
  refused("integers of nf4", [](PackedForm& form) {
    form.format = WeightFormat::kNf4;
    form.has_zeros = false;
  });
}

/// The bytes of today's layout: kept ones of another must not be taken for them.
void check_layout_version(Checks& checks) {
  const std::vector<uint8_t> bytes = random_bytes(20 * 96, 1);
  std::vector<float> scales(20 * 3);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<float>(i) / 64;
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (WeightFormat format :
       {WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4, WeightFormat::kNf4}) {
    WeightView view;
    view.format = format;
    view.rows = format == WeightFormat::kBf16 ? 10 : 20;
    view.cols = 96;
    view.codes = bytes.data();
    view.group_size = format == WeightFormat::kBf16 ? 0 : 32;
    view.scales = scales.data();
    view.zeros = format == WeightFormat::kInt4 ? bytes.data() : nullptr;
    const PackedWeight w = pack_weight(view, Compute::kInt8);
    for (size_t i = 0; i < w.size_bytes(); ++i) hash = (hash ^ w.data[i]) * 1099511628211u;
  }
  // Where the bytes are meant to be others, kPackedLayout must be another too.
  checks.that("the layout's version", kPackedLayout == 1 && hash == 0x6cdc75d8ddb8e2e9u);
}

/// A weight in a mapped file: the pages it lets go of are read again.
void check_mapped(Checks& checks) {
  char path[] = "/tmp/llmkit-test-XXXXXX";
  const int descriptor = mkstemp(path);
  checks.that("a file", descriptor >= 0);
  const std::vector<uint8_t> bytes = random_bytes(70000, 1);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<long>(bytes.size()));
  std::string error;
  const auto file = MappedFile::open(path, {}, error);
  static_cast<uint8_t*>(file->data())[0] = static_cast<uint8_t>(bytes[0] + 1);  // before the weight
  const std::vector<float> scales = random_normal(8 * 150, 2);
  WeightView view;
  view.format = WeightFormat::kInt4;
  view.rows = 150;
  view.cols = 512;
  view.group_size = 64;
  view.scales = scales.data();
  view.codes = static_cast<const uint8_t*>(file->data()) + 5001;
  const PackedWeight w = pack_weight(view, Compute::kInt8);
  checks.that("the file's bytes", std::memcmp(view.codes, bytes.data() + 5001, 64990) == 0);
  const uint8_t first = *static_cast<const uint8_t*>(file->data());
  checks.that("others' pages stay", first == static_cast<uint8_t>(bytes[0] + 1));
  view.codes = bytes.data() + 5001;
  check_layout(checks, view, w);
  std::remove(path);
}

/// Several weights at once give the bits of each alone, whether or not they want x in one form.
void check_layers(Checks& checks) {
  using F = WeightFormat;
  const size_t cols = 160, most = 200;
  const RandomWeight a({F::kInt4, 300, cols, 32, false, false});
  const RandomWeight b({F::kInt4, 37, cols, 32, false, false});
  const RandomWeight c({F::kInt4, 64, cols, 32, false, true});
  const RandomWeight d({F::kInt8, 20, cols, 40, false, false});
  std::vector<PackedWeight> weights;
  for (const RandomWeight* weight : {&a, &b, &a, &c, &d, &b})
    weights.push_back(
        pack_weight(weight->view, weights.size() < 5 ? Compute::kInt8 : Compute::kBf16));
  const Buffer x(most * cols, 1), bias(300, 2);
  for (size_t threads : {1, 3}) {
    set_thread_count(threads);
    for (size_t m : {size_t{1}, size_t{2}, size_t{33}, most}) {
      std::vector<PackedLayer> layers;
      std::vector<Buffer> results;
      for (const PackedWeight& w : weights) results.emplace_back(m * w.rows, 3);
      for (size_t i = 0; i < weights.size(); ++i)
        layers.push_back({&weights[i], i % 2 == 0 ? bias.data() : nullptr, results[i].data()});
      packed_linears(layers.data(), layers.size(), m, x.data());
      for (const PackedLayer& layer : layers) {
        Buffer want(m * layer.weight->rows, 4);
        packed_linear(*layer.weight, m, x.data(), layer.bias, want.data());
        checks.same("layers", layer.y.floats(), want.data(), m * layer.weight->rows);
      }
    }
  }
}

/// A gated unit has the bits of its two products, put together afterwards.
void check_gated(Checks& checks) {
  using F = WeightFormat;
  const size_t rows = 300, cols = 160, most = 290;
  const RandomWeight a({F::kInt4, rows, cols, 32, false, false});
  const RandomWeight b({F::kInt4, rows, cols, 32, false, true});
  const Buffer x(most * cols, 1), bias(rows, 2);
  for (const RandomWeight* other : {&a, &b})
    for (const Compute compute : {Compute::kBf16, Compute::kInt8})
      for (size_t m : {size_t{1}, size_t{33}, most}) {
        const PackedWeight gate = pack_weight(a.view, compute);
        const PackedWeight up = pack_weight(other->view, compute);
        Buffer y(m * rows, 3), linear(m * rows, 4), want(m * rows, 5);
        packed_gated(Activation::kSilu, {&gate, bias.data(), y.data()},
                     {&up, nullptr, linear.data()}, m, x.data());
        packed_linear(gate, m, x.data(), bias.data(), want.data());
        packed_linear(up, m, x.data(), nullptr, linear.data());
        gated_mlp(Activation::kSilu, m * rows, want.data(), linear.data(), want.data());
        checks.same("gated", y.data(), want.data(), m * rows);
      }
}

/// Where memory with a line to spare first begins with a line of the cache.
template <typename T>
T* aligned(std::vector<T>& memory) {
  const size_t past = reinterpret_cast<uintptr_t>(memory.data()) % 64;
  return memory.data() + (64 - past) % 64 / sizeof(T);
}

/// A y that is too large for the caches gets the bits of its rows, a few at a time, and the same
/// rounded where it is bf16.
void check_large(Checks& checks) {
  using F = WeightFormat;
  const size_t rows = 2080, m = 1030, rank = 3;  // 4 MB in bf16, rows of whole lines
  const Buffer bias(rows, 1), low(m * rank, 2), high(rank * rows, 3);
  std::vector<float> memory(m * rows + 16);
  std::vector<uint16_t> half_memory(m * rows + 32);
  float* const y = aligned(memory);
  uint16_t* const halves = aligned(half_memory);
  for (const WeightCase& c : {WeightCase{F::kBf16, rows, 40, 0, false, false},
                              WeightCase{F::kInt4, rows, 64, 32, false, true},
                              WeightCase{F::kNf4, rows, 64, 64, false, false}}) {
    const RandomWeight random(c);
    const Buffer x(m * c.cols, 4);
    for (const Compute compute : {Compute::kBf16, Compute::kInt8, Compute::kBf16Dequantized}) {
      const PackedWeight w = pack_weight(random.view, compute);
      const LowRank update = {rank, low.data(), high.data(), rows, 1};
      packed_linear(w, m, x.data(), bias.data(), y, &update);
      for (size_t row = 0; row < m; row += 103) {
        Buffer want(103 * rows, 5);
        const LowRank part = {rank, low.data() + row * rank, high.data(), rows, 1};
        packed_linear(w, 103, x.data() + row * c.cols, bias.data(), want.data(), &part);
        checks.same("large", y + row * rows, want.data(), 103 * rows);
      }
      packed_linear(w, m, x.data(), bias.data(), halves, &update);
      for (size_t i = 0; i < m * rows; ++i)
        checks.that("large in bf16", halves[i] == to_bf16(y[i]));
    }
  }
}

/// Bytes that a thread asks for while it waits.
size_t fetched(ReadAhead& ahead) {
  size_t steps = 0;
  while (ahead.fetch()) ++steps;
  return steps * ReadAhead::kStepBytes;
}

/// What followed last time is asked for next time, up to a limit.
void check_read_ahead(Checks& checks) {
  const std::vector<uint8_t> a(4096), b(8192);
  ReadAhead ahead;
  checks.that("nothing is known", fetched(ahead) == 0);
  ahead.begin(a.data(), a.size());
  checks.that("nothing has followed", fetched(ahead) == 0);
  ahead.begin(b.data(), b.size());
  ahead.begin(a.data() + 64, 64);  // a second range of the loop
  checks.that("nothing has followed b", fetched(ahead) == 0);
  ahead.begin(a.data(), a.size());
  checks.that("b follows", fetched(ahead) == b.size());
  checks.that("once", fetched(ahead) == 0);
  ahead.begin(b.data(), size_t{1} << 30);
  checks.that("a follows", fetched(ahead) == a.size());
  ahead.begin(a.data(), a.size());
  checks.that("not all of it", fetched(ahead) == ReadAhead::kMostBytes);
}

void check_all(Checks& checks) {
  for (size_t threads : {1, 3}) {
    set_thread_count(threads);
    for (const WeightCase& c : packed_cases()) check_case(checks, c);
  }
  check_scale_types(checks);
  check_refused_forms(checks);
  check_layout_version(checks);
  check_layers(checks);
  check_gated(checks);
  check_large(checks);
  check_read_ahead(checks);
  check_mapped(checks);
}

}  // namespace

int main() { return run(check_all); }
