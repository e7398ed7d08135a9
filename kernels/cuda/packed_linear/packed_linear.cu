#include "cuda/packed_linear/packed_linear.h"
#include "cuda/packed_linear/products.h"

namespace llmkit::cuda {
namespace {

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }
size_t aligned(size_t bytes) { return divide_up(bytes, 256) * 256; }

/// Layers from `first` on whose codes are alike, as many as a kernel takes.
ForwardArgs alike(const PackedLinearArgs& args, size_t first, const bf16* x) {
  ForwardArgs forward = {};
  forward.m = static_cast<int>(args.m);
  forward.x = x;
  const PackedCode code = args.layers[first].weight->code;
  for (size_t i = first; i < args.count && forward.count < kMostLayers; ++i) {
    const PackedLayer& layer = args.layers[i];
    if (layer.weight->code != code) break;
    forward.layers[forward.count++] = {weight_args(*layer.weight), layer.bias, layer.residual,
                                       layer.y, layer.update};
  }
  return forward;
}

/// What all launches of a product need at most, and how many counters.
struct Needs {
  size_t sums_bytes = 0, counters = 0;
};
Needs needs_of(const PackedLinearArgs& args) {
  Needs needs;
  if (args.m <= kFewRows) return needs;
  for (size_t i = 0; i < args.count;) {
    const ForwardArgs forward = alike(args, i, nullptr);
    const size_t bytes = part_sums_bytes(forward);
    needs.sums_bytes = bytes > needs.sums_bytes ? bytes : needs.sums_bytes;
    if (bytes > 0) needs.counters += result_tiles(forward);
    i += forward.count;
  }
  return needs;
}

size_t padded_cols(const PackedLinearArgs& args) { return args.layers[0].weight->padded_cols(); }

bool is_empty(const PackedLinearArgs& args) { return args.m == 0 || args.count == 0; }

size_t rounded_bytes(const PackedLinearArgs& args) {
  return aligned(args.m * padded_cols(args) * sizeof(bf16));
}

}  // namespace

size_t packed_linears_workspace(const PackedLinearArgs& args) {
  if (is_empty(args)) return 0;
  const Needs needs = needs_of(args);
  return rounded_bytes(args) + aligned(needs.sums_bytes) + needs.counters * sizeof(unsigned);
}

cudaError_t packed_linears(const PackedLinearArgs& args, void* workspace, cudaStream_t stream) {
  if (is_empty(args)) return cudaSuccess;
  const Needs needs = needs_of(args);
  bf16* const x = static_cast<bf16*>(workspace);
  char* const sums = static_cast<char*>(workspace) + rounded_bytes(args);
  unsigned* counters = reinterpret_cast<unsigned*>(sums + aligned(needs.sums_bytes));
  cudaError_t error = round_rows(
      {args.x, args.m, args.layers[0].weight->cols, padded_cols(args), x, counters, needs.counters},
      stream);
  for (size_t i = 0; i < args.count && error == cudaSuccess;) {
    const ForwardArgs forward = alike(args, i, x);
    const PackedCode code = args.layers[i].weight->code;
    if (args.m <= kFewRows) {
      error = multiply_few(forward, code, stream);
    } else {
      const int parts = parts_for(forward);
      error =
          multiply_many(forward, {parts, reinterpret_cast<float*>(sums), counters}, code, stream);
      if (parts > 1) counters += result_tiles(forward);
    }
    i += forward.count;
  }
  return error;
}

size_t packed_grad_input_workspace(const PackedGradInputArgs& args) {
  return args.m * divide_up(args.weight->rows, kTileColumns) * kTileColumns * sizeof(bf16);
}

cudaError_t packed_grad_input(const PackedGradInputArgs& args, void* workspace,
                              cudaStream_t stream) {
  if (args.m == 0) return cudaSuccess;
  const size_t rows = args.weight->rows, padded = divide_up(rows, kTileColumns) * kTileColumns;
  bf16* const dy = static_cast<bf16*>(workspace);
  const cudaError_t error = round_rows({args.dy, args.m, rows, padded, dy, nullptr, 0}, stream);
  if (error != cudaSuccess) return error;
  const GradArgs grad = {weight_args(*args.weight),
                         static_cast<int>(args.m),
                         static_cast<int>(args.weight->cols),
                         static_cast<int>(padded),
                         dy,
                         args.dx,
                         args.update};
  return multiply_grad(grad, args.weight->code, stream);
}

}  // namespace llmkit::cuda
