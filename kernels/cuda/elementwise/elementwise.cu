#include "cuda/base/fours.h"
#include "cuda/elementwise/elementwise.h"

namespace llmkit::cuda {
namespace {

// Comparisons with NaN are false: the forms below keep a NaN.
struct Abs {
  static __device__ float of(float x) { return fabsf(x); }
};
struct Erf {
  static __device__ float of(float x) { return erff(x); }
};
struct Exp {
  static __device__ float of(float x) { return expf(x); }
};
struct Log {
  static __device__ float of(float x) { return logf(x); }
};
struct Neg {
  static __device__ float of(float x) { return -x; }
};
struct Relu {
  static __device__ float of(float x) { return 0 > x ? 0 : x; }
};
struct Rsqrt {
  static __device__ float of(float x) { return 1 / sqrtf(x); }
};
struct Sigmoid {
  static __device__ float of(float x) { return 1 / (1 + expf(-x)); }
};
struct Sqrt {
  static __device__ float of(float x) { return sqrtf(x); }
};
struct Square {
  static __device__ float of(float x) { return x * x; }
};
struct Reciprocal {
  static __device__ float of(float x) { return 1 / x; }
};
struct Step {
  static __device__ float of(float x) { return x > 0 ? 1 : x <= 0 ? 0 : x; }
};
struct Tanh {
  static __device__ float of(float x) { return tanhf(x); }
};

struct Add {
  static __device__ float of(float a, float b) { return a + b; }
};
struct Sub {
  static __device__ float of(float a, float b) { return a - b; }
};
struct Mul {
  static __device__ float of(float a, float b) { return a * b; }
};
struct Div {
  static __device__ float of(float a, float b) { return a / b; }
};
struct Max {
  static __device__ float of(float a, float b) { return a != a || a > b ? a : b; }
};
struct Min {
  static __device__ float of(float a, float b) { return a != a || a < b ? a : b; }
};
struct SquaredDifference {
  static __device__ float of(float a, float b) { return (a - b) * (a - b); }
};

template <class Op>
__global__ void __launch_bounds__(kElementThreads)
    unary_kernel(size_t n, const float* x, float* y) {
  each_four(n, [=](size_t i) {
    store_four(y, i, n, map_four([](float v) { return Op::of(v); }, load_four(x, i, n)));
  });
}

/// Columns col to col + 3 of a row of an operand.
__device__ __forceinline__ Four<float> load_operand(const Operand& operand, size_t row, size_t col,
                                                    size_t cols) {
  const float* const p = operand.data;
  if (operand.broadcast == Broadcast::kFull) return load_four(p + row * cols, col, cols);
  if (operand.broadcast == Broadcast::kRow) return load_four(p, col, cols);
  const float same = p[operand.broadcast == Broadcast::kColumn ? row : 0];
  return {same, same, same, same};
}

template <class Op>
__global__ void __launch_bounds__(kElementThreads) binary_kernel(BinaryArgs p) {
  each_row_four(p.rows, p.cols, [&](size_t row, size_t col) {
    const Four<float> a = load_operand(p.a, row, col, p.cols);
    const Four<float> b = load_operand(p.b, row, col, p.cols);
    store_four(p.y + row * p.cols, col, p.cols,
               map_four([](float u, float v) { return Op::of(u, v); }, a, b));
  });
}

bool is_uniform(const Operand& operand) {
  return operand.broadcast == Broadcast::kFull || operand.broadcast == Broadcast::kScalar;
}

// In the order of kUnaryNames and kBinaryNames.
void (*const kUnaryKernels[kUnaryOps])(size_t, const float*, float*) = {
    unary_kernel<Abs>,  unary_kernel<Erf>,    unary_kernel<Exp>,        unary_kernel<Log>,
    unary_kernel<Neg>,  unary_kernel<Relu>,   unary_kernel<Rsqrt>,      unary_kernel<Sigmoid>,
    unary_kernel<Sqrt>, unary_kernel<Square>, unary_kernel<Reciprocal>, unary_kernel<Step>,
    unary_kernel<Tanh>};
void (*const kBinaryKernels[kBinaryOps])(BinaryArgs) = {binary_kernel<Add>,
                                                        binary_kernel<Sub>,
                                                        binary_kernel<Mul>,
                                                        binary_kernel<Div>,
                                                        binary_kernel<Max>,
                                                        binary_kernel<Min>,
                                                        binary_kernel<SquaredDifference>};

}  // namespace

cudaError_t unary(size_t op, size_t n, const float* x, float* y, cudaStream_t stream) {
  return launch(kUnaryKernels[op], over_elements(n, stream), n, x, y);
}

cudaError_t binary(size_t op, const BinaryArgs& args, cudaStream_t stream) {
  BinaryArgs p = args;
  if (is_uniform(p.a) && is_uniform(p.b)) {  // one long row
    p.cols *= p.rows;
    p.rows = p.cols > 0 ? 1 : 0;
  }
  return launch(kBinaryKernels[op], over_rows(p.rows, p.cols, stream), p);
}

}  // namespace llmkit::cuda
