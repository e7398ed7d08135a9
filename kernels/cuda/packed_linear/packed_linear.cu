#include <algorithm>
#include <iterator>

#include "cuda/packed_linear/packed_linear.h"
#include "cuda/packed_linear/products.h"

namespace llmkit::cuda {
namespace {

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }
size_t aligned(size_t bytes) { return divide_up(bytes, 256) * 256; }

/// Layers from `first` on whose codes are alike, as many as a kernel takes; or a gate.
ForwardArgs alike(const PackedLinearArgs& args, size_t first) {
  ForwardArgs forward = {};
  forward.m = static_cast<int>(args.m);
  forward.cols = static_cast<int>(args.layers[first].weight->cols);
  forward.instructions = args.layers[first].weight->instructions;
  if (!args.x.is_bf16) forward.float_x = static_cast<const float*>(args.x.data);
  if (args.layers[first].ending == Ending::kGates) {
    forward.layers[0] = layer_args(args.layers[first]);
    forward.layers[1] = layer_args(args.layers[first + 1]);
    forward.count = 1;
    return forward;
  }
  const PackedCode code = args.layers[first].weight->code;
  for (size_t i = first; i < args.count && forward.count < kMostLayers; ++i) {
    const PackedLayer& layer = args.layers[i];
    if (layer.weight->code != code || layer.ending == Ending::kGates) break;
    if (layer.weight->instructions != forward.instructions) break;
    forward.layers[forward.count++] = layer_args(layer);
  }
  return forward;
}

/// Layers of args that a product makes.
size_t layers_of(const ForwardArgs& forward) { return forward.gates() ? 2 : forward.count; }

/// Whether every gate has a layer that it can gate.
bool gates_fit(const PackedLinearArgs& args) {
  for (size_t i = 0; i < args.count; ++i) {
    if (args.layers[i].ending != Ending::kGates) continue;
    if (i + 1 == args.count || args.layers[i + 1].ending != Ending::kSums) return false;
    if (!can_gate(*args.layers[i].weight, *args.layers[i + 1].weight)) return false;
    ++i;
  }
  return true;
}

/// Whether products of warpgroups make all numbers of rows.
bool only_groups(const PackedLayer& layer) {
  return layer.weight->instructions == Instructions::kWarpgroups;
}
bool instructions_fit(const PackedLinearArgs& args) {
  for (size_t i = 0; i < args.count; ++i)
    if (only_groups(args.layers[i]) != only_groups(args.layers[0])) return false;
  return true;
}
/// Whether the kernels for few rows make them.
bool is_few(const PackedLinearArgs& args) {
  return args.m <= kFewRows && !only_groups(args.layers[0]);
}
/// Whether products of warpgroups make what the kernels for few rows do not.
bool by_groups(const ForwardArgs& args) {
  return args.instructions == Instructions::kWarpgroups ||
         (args.instructions == Instructions::kEither && prefers_groups(args));
}

/// The rows that the kernels for few of them take as they are, or null.
const bf16* ready_rows(const PackedLinearArgs& args) {
  if (!is_few(args)) return nullptr;
  if (args.rounded != nullptr || !args.x.is_bf16) return args.rounded;
  const bool whole = args.layers[0].weight->cols % kTileColumns == 0 &&
                     reinterpret_cast<uintptr_t>(args.x.data) % 16 == 0;
  return whole ? static_cast<const bf16*>(args.x.data) : nullptr;
}

/// What all launches of a product need at most, and how many counters.
struct Needs {
  bool rounded = false;
  size_t sums_bytes = 0, counters = 0;
};
Needs needs_of(const PackedLinearArgs& args) {
  Needs needs;
  for (size_t i = 0; i < args.count;) {
    const ForwardArgs forward = alike(args, i);
    const bool takes_floats_too =
        is_few(args) && !args.x.is_bf16 && takes_floats(forward, args.layers[i].weight->code);
    if (ready_rows(args) == nullptr && !takes_floats_too) needs.rounded = true;
    i += layers_of(forward);
    if (is_few(args) || by_groups(forward)) continue;
    const size_t bytes = part_sums_bytes(forward);
    needs.sums_bytes = bytes > needs.sums_bytes ? bytes : needs.sums_bytes;
    if (bytes > 0) needs.counters += result_tiles(forward);
  }
  return needs;
}

size_t padded_cols(const PackedLinearArgs& args) { return args.layers[0].weight->padded_cols(); }
size_t column_tiles(const PackedLinearArgs& args) { return args.layers[0].weight->column_tiles(); }

bool is_empty(const PackedLinearArgs& args) { return args.m == 0 || args.count == 0; }
bool is_valid(const PackedLinearArgs& args) { return gates_fit(args) && instructions_fit(args); }

/// The parts of the memory that a product works in.
struct Workspace {
  Workspace(const PackedLinearArgs& args, const Needs& needs, void* memory)
      : x(static_cast<bf16*>(memory)) {
    const size_t x_bytes = !needs.rounded ? 0
                           : is_few(args) ? args.m * padded_cols(args) * sizeof(bf16)
                                          : bytes_of_tiles(args.m, column_tiles(args));
    sums = reinterpret_cast<float*>(static_cast<char*>(memory) + aligned(x_bytes));
    counters = reinterpret_cast<unsigned*>(static_cast<char*>(memory) + aligned(x_bytes) +
                                           aligned(needs.sums_bytes));
    bytes = aligned(x_bytes) + aligned(needs.sums_bytes) + needs.counters * sizeof(unsigned);
  }
  bf16* x;
  float* sums;
  unsigned* counters;
  size_t bytes;
};

}  // namespace

bool can_gate(const PackedWeight& gate, const PackedWeight& up) {
  return gate.rows == up.rows && gate.cols == up.cols && gate.code == up.code &&
         gate.group == up.group && gate.instructions == up.instructions &&
         std::equal(std::begin(gate.values), std::end(gate.values), std::begin(up.values));
}

size_t packed_linears_workspace(const PackedLinearArgs& args) {
  if (is_empty(args) || !is_valid(args)) return 0;
  return Workspace(args, needs_of(args), nullptr).bytes;
}

cudaError_t packed_linears(const PackedLinearArgs& args, void* workspace, cudaStream_t stream) {
  if (!is_valid(args)) return cudaErrorInvalidValue;
  if (is_empty(args)) return cudaSuccess;
  const Needs needs = needs_of(args);
  const Workspace memory(args, needs, workspace);
  cudaError_t error = cudaSuccess;
  if (needs.rounded)
    error = round_rows({args.x, args.m, args.layers[0].weight->cols, padded_cols(args), memory.x,
                        !is_few(args), memory.counters, needs.counters},
                       stream);
  unsigned* counters = memory.counters;
  for (size_t i = 0; i < args.count && error == cudaSuccess;) {
    ForwardArgs forward = alike(args, i);
    forward.x = needs.rounded ? memory.x : ready_rows(args);
    const PackedCode code = args.layers[i].weight->code;
    if (is_few(args)) {
      error = multiply_few(forward, code, stream);
    } else if (by_groups(forward)) {
      error = multiply_many_by_groups(forward, code, stream);
    } else {
      const int parts = parts_for(forward);
      error = multiply_many(forward, {parts, memory.sums, counters}, code, stream);
      if (parts > 1) counters += result_tiles(forward);
    }
    i += layers_of(forward);
  }
  return error;
}

size_t packed_grad_input_workspace(const PackedGradInputArgs& args) {
  return bytes_of_tiles(args.m, divide_up(args.weight->rows, kTileColumns));
}

cudaError_t packed_grad_input(const PackedGradInputArgs& args, void* workspace,
                              cudaStream_t stream) {
  if (args.m == 0) return cudaSuccess;
  const size_t rows = args.weight->rows, padded = divide_up(rows, kTileColumns) * kTileColumns;
  bf16* const dy = static_cast<bf16*>(workspace);
  const cudaError_t error =
      round_rows({args.dy, args.m, rows, padded, dy, true, nullptr, 0}, stream);
  if (error != cudaSuccess) return error;
  const GradArgs grad = {weight_args(*args.weight),
                         static_cast<int>(args.m),
                         static_cast<int>(args.weight->cols),
                         dy,
                         args.dx,
                         args.update};
  const auto multiply = has_warpgroups() ? multiply_grad_by_groups : multiply_grad;
  return multiply(grad, args.weight->code, stream);
}

}  // namespace llmkit::cuda
