#include <string>

#include "cuda/binding/arguments.h"
#include "cuda/sample/sample.h"

namespace llmkit::cuda {
namespace {

constexpr size_t kMostIds = size_t{1} << 24;

/// The numbers that tokens are drawn with, on the device.
Block uniforms_on_device(const Arguments& args, size_t index, size_t rows) {
  napi_typedarray_type type = napi_int8_array;
  void* data = nullptr;
  size_t length = 0;
  const napi_status status = napi_get_typedarray_info(args.env(), args.value(index), &type, &length,
                                                      &data, nullptr, nullptr);
  if (status != napi_ok || type != napi_float64_array) args.expected(index, "a Float64Array");
  args.expect(length, rows, "uniforms");
  const auto* const numbers = static_cast<const double*>(data);
  for (size_t row = 0; row < rows; ++row)
    if (!(numbers[row] >= 0 && numbers[row] < 1)) args.range_error("uniforms must be in [0, 1)");
  return on_device(data, rows * sizeof(double), "sampleRows");
}

/// A mask [rows, vocab] of the ids that have been seen, from pairs of arguments `index` and the
/// next.
Block seen_on_device(const Arguments& args, size_t index, size_t rows, size_t vocab) {
  if (args.value(index).IsNull()) return {};
  const Ints row_of = args.host_ints(index), ids = args.host_ints(index + 1);
  args.expect(ids.size, row_of.size, "seenIds");
  for (size_t i = 0; i < ids.size; ++i)
    if (row_of.data[i] < 0 || static_cast<size_t>(row_of.data[i]) >= rows || ids.data[i] < 0 ||
        static_cast<size_t>(ids.data[i]) >= vocab)
      args.range_error("id " + std::to_string(ids.data[i]) + " of row " +
                       std::to_string(row_of.data[i]) + " is not one of the logits");
  Block mask = device_memory(rows * vocab, "sampleRows");
  check(cudaMemsetAsync(mask.data(), 0, rows * vocab, stream()), "sampleRows");
  if (ids.size == 0) return mask;
  const Block rows_there = on_device(row_of.data, ids.size * sizeof(int32_t), "sampleRows");
  const Block ids_there = on_device(ids.data, ids.size * sizeof(int32_t), "sampleRows");
  check(mark_seen(rows_there.as<int32_t>(), ids_there.as<int32_t>(), ids.size, vocab,
                  mask.as<uint8_t>(), stream()),
        "sampleRows");
  return mask;
}

/// sampleRows(logits, seenRows, seenIds, penalty, temperature, topK, topP, uniforms, chosen)
void sample_rows_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "sampleRows");
  const Floats logits = args.floats(0);
  const Ints chosen = args.ints(8);
  SampleArgs p;
  p.rows = chosen.size;
  if (p.rows == 0) return;
  p.vocab = args.quotient(logits.size, p.rows, "logits");
  if (p.vocab == 0 || p.vocab > kMostIds)
    args.range_error("logits must have from 1 to 2^24 elements per row");
  p.logits = logits.data;
  p.penalty = args.number(3);
  p.temperature = args.number(4);
  p.top_k = args.size(5, "topK");
  p.top_p = args.number(6);
  if (!(p.penalty > 0 && p.temperature >= 0))
    args.range_error("penalty must be above 0, temperature not below");
  const Block seen = seen_on_device(args, 1, p.rows, p.vocab);
  const Block uniforms = uniforms_on_device(args, 7, p.rows);
  p.seen = seen.as<uint8_t>();
  p.uniforms = uniforms.as<double>();
  p.chosen = chosen.data;
  const Scratch workspace = scratch(sample_workspace(p));
  check(sample(p, workspace.data(), stream()), "sampleRows");
}

}  // namespace

void add_sampling(Napi::Object exports) { add_procedure<sample_rows_call>(exports, "sampleRows"); }

}  // namespace llmkit::cuda
