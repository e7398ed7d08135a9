#include "cuda/base/instructions.h"
#include "cuda/base/row.h"
#include "cuda/norm/norm.h"
#include "cuda/reduce/reduce.h"

namespace llmkit::cuda {
namespace {

/// All threads of the row's team call it.
template <class R>
__device__ __forceinline__ NormStatistics statistics_of(const NormArgs& p, const R& x) {
  const float count = static_cast<float>(p.cols);
  const float mean = p.centered ? x.sum([&](int k) { return x.four(k); }) / count : 0;
  const float squares = x.sum(
      [&](int k) { return map_four([=](float v) { return (v - mean) * (v - mean); }, x.four(k)); });
  return {mean, 1 / sqrtf(squares / count + p.eps)};
}

template <class R, typename X, typename Y>
__global__ void __launch_bounds__(R::Team::kBlock, 1)
    norm_kernel(NormArgs p, const X* xs, const float* bias, Y* y, bf16* rounded) {
  let_next_begin();
  wait_for_inputs();
  const size_t row = R::Team::row();
  if (row >= p.rows) return;
  const typename R::template Of<X> x(xs + row * p.cols, p.cols);
  const R weight(p.weight, p.cols);
  const NormStatistics s = statistics_of(p, x);
  x.each([&](int k, size_t i) {
    Four<float> out = map_four([=](float v, float w) { return (v - s.mean) * s.scale * w; },
                               x.four(k), weight.four(k));
    if (bias != nullptr)
      out = map_four([](float v, float b) { return v + b; }, out, load_four(bias, i, p.cols));
    store_floats(y + row * p.cols, i, p.cols, out);
    if (rounded != nullptr) store_floats(rounded + row * p.cols, i, p.cols, out);
  });
}

template <class R, typename X>
__global__ void __launch_bounds__(R::Team::kBlock, 1)
    statistics_kernel(NormArgs p, const X* x, NormStatistics* statistics) {
  const size_t row = R::Team::row();
  if (row >= p.rows) return;
  using RowOfX = typename R::template Of<X>;
  const NormStatistics s = statistics_of(p, RowOfX(x + row * p.cols, p.cols));
  if (R::Team::rank() == 0) statistics[row] = s;
}

/// dx = scale · (g - mean(g) - x̂ · mean(g · x̂)), g = dy · weight; mean(g) only when centered.
template <class R, typename X>
__global__ void __launch_bounds__(R::Team::kBlock, 1)
    grad_input_kernel(NormArgs p, const X* xs, const float* dys, float* dxs) {
  const size_t row = R::Team::row();
  if (row >= p.rows) return;
  const typename R::template Of<X> x(xs + row * p.cols, p.cols);
  const R dy(dys + row * p.cols, p.cols), weight(p.weight, p.cols);
  const NormStatistics s = statistics_of(p, x);
  const float count = static_cast<float>(p.cols);
  const auto gradient = [&](int k) {
    return map_four([](float d, float w) { return d * w; }, dy.four(k), weight.four(k));
  };
  const auto normalised = [&](int k) {
    return map_four([=](float v) { return (v - s.mean) * s.scale; }, x.four(k));
  };
  const float mean = p.centered ? x.sum(gradient) / count : 0;
  const float along = x.sum([&](int k) {
    return map_four([](float g, float v) { return g * v; }, gradient(k), normalised(k));
  }) / count;
  x.each([&](int k, size_t i) {
    const auto rest = [=](float g, float v) { return (g - mean - v * along) * s.scale; };
    store_four(dxs + row * p.cols, i, p.cols, map_four(rest, gradient(k), normalised(k)));
  });
}

/// Rows whose gradients of the weight and the bias are added up in one go.
constexpr size_t kSlice = 128;

size_t slices_of(const NormArgs& p) { return (p.rows + kSlice - 1) / kSlice; }

/// dweight and dbias [slices, cols] of each slice of rows, a thread for each four columns.
template <typename X>
__global__ void __launch_bounds__(kElementThreads)
    grad_weight_slices(NormArgs p, const X* xs, const NormStatistics* statistics, const float* dys,
                       float* dweight, float* dbias) {
  each_row_four((p.rows + kSlice - 1) / kSlice, p.cols, [&](size_t slice, size_t col) {
    const size_t end = (slice + 1) * kSlice < p.rows ? (slice + 1) * kSlice : p.rows;
    Four<float> weight_sum = {}, bias_sum = {};
    const auto add_rows = [&](auto load) {
#pragma unroll 4
      for (size_t row = slice * kSlice; row < end; ++row) {
        const NormStatistics s = statistics[row];
        const Four<float> x = load(xs + row * p.cols), dy = load(dys + row * p.cols);
        weight_sum = map_four(
            [=](float sum, float v, float d) { return fmaf(d, (v - s.mean) * s.scale, sum); },
            weight_sum, x, dy);
        bias_sum = map_four([](float sum, float d) { return sum + d; }, bias_sum, dy);
      }
    };
    if (p.cols % 4 == 0 && moves_whole(xs, 0, 4) && moves_whole(dys, 0, 4))
      add_rows([&](const auto* row) { return load_whole_floats(row + col); });
    else
      add_rows([&](const auto* row) { return load_floats(row, col, p.cols); });
    if (dweight != nullptr) store_four(dweight + slice * p.cols, col, p.cols, weight_sum);
    if (dbias != nullptr) store_four(dbias + slice * p.cols, col, p.cols, bias_sum);
  });
}

/// Adds up the slices' sums [slices, cols].
ReduceArgs sum_of_slices(const NormArgs& p, const float* sums, float* y) {
  return {1, slices_of(p), p.cols, sums, y};
}

/// Where the parts of norm_grad's workspace begin.
struct GradWorkspace {
  size_t statistics, dweight, dbias, reduce, size;

  explicit GradWorkspace(const NormGradArgs& p) {
    const size_t sums = slices_of(p.norm) * p.norm.cols * sizeof(float);
    size = 0;
    statistics = part(p.norm.rows * sizeof(NormStatistics));
    dweight = part(p.dweight != nullptr ? sums : 0);
    dbias = part(p.dbias != nullptr ? sums : 0);
    reduce = part(reduce_workspace(sum_of_slices(p.norm, nullptr, nullptr)));
  }

 private:
  size_t part(size_t bytes) {
    const size_t begin = size;
    size += (bytes + 15) / 16 * 16;
    return begin;
  }
};

bool wants_parameters(const NormGradArgs& p) { return p.dweight != nullptr || p.dbias != nullptr; }

template <typename X>
cudaError_t grad_parameters(const NormGradArgs& args, const X* x, char* workspace,
                            cudaStream_t stream) {
  const NormArgs& p = args.norm;
  const GradWorkspace parts(args);
  NormStatistics* const statistics =
      reinterpret_cast<NormStatistics*>(workspace + parts.statistics);
  float* const of_slices[] = {reinterpret_cast<float*>(workspace + parts.dweight),
                              reinterpret_cast<float*>(workspace + parts.dbias)};
  float* const wanted[] = {args.dweight, args.dbias};
  cudaError_t error = with_row(p.cols, [&](auto kind) {
    using R = typename decltype(kind)::Row;
    return launch(statistics_kernel<R, X>, R::Team::over(p.rows, stream), p, x, statistics);
  });
  if (error != cudaSuccess) return error;
  error = launch(grad_weight_slices<X>, over_rows(slices_of(p), p.cols, stream), p, x, statistics,
                 args.dy, wanted[0] != nullptr ? of_slices[0] : nullptr,
                 wanted[1] != nullptr ? of_slices[1] : nullptr);
  for (int i = 0; i < 2 && error == cudaSuccess; ++i)
    if (wanted[i] != nullptr)
      error = reduce(Reduction::kSum, sum_of_slices(p, of_slices[i], wanted[i]),
                     workspace + parts.reduce, stream);
  return error;
}

template <typename X, typename Y>
cudaError_t norm_of(const NormArgs& args, const X* x, const float* bias, Y* y, bf16* rounded,
                    cudaStream_t stream) {
  return with_row(args.cols, [&](auto kind) {
    using R = typename decltype(kind)::Row;
    Launch blocks = R::Team::over(args.rows, stream);
    blocks.early = true;
    return launch(norm_kernel<R, X, Y>, blocks, args, x, bias, y, rounded);
  });
}

template <typename X>
cudaError_t norm_grad_of(const NormGradArgs& args, const X* x, void* workspace,
                         cudaStream_t stream) {
  if (wants_parameters(args)) {  // before dx, which may lie over dy
    const cudaError_t error = grad_parameters(args, x, static_cast<char*>(workspace), stream);
    if (error != cudaSuccess || args.dx == nullptr) return error;
  }
  return with_row(args.norm.cols, [&](auto kind) {
    using R = typename decltype(kind)::Row;
    return launch(grad_input_kernel<R, X>, R::Team::over(args.norm.rows, stream), args.norm, x,
                  args.dy, args.dx);
  });
}

}  // namespace

cudaError_t norm(const NormArgs& args, const float* bias, const Elements& y, bf16* rounded,
                 cudaStream_t stream) {
  return with_elements(args.x, [&](const auto* x) {
    return with_elements(y, [&](auto* to) { return norm_of(args, x, bias, to, rounded, stream); });
  });
}

size_t norm_grad_workspace(const NormGradArgs& args) {
  return wants_parameters(args) ? GradWorkspace(args).size : 0;
}

cudaError_t norm_grad(const NormGradArgs& args, void* workspace, cudaStream_t stream) {
  return with_elements(args.norm.x,
                       [&](const auto* x) { return norm_grad_of(args, x, workspace, stream); });
}

}  // namespace llmkit::cuda
