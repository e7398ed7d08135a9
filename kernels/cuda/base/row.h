#pragma once

#include "cuda/base/fours.h"
#include "cuda/base/reduce.h"

namespace llmkit::cuda {

/// A row of n values seen by the threads of a team, each of which has some fours of it. With kHeld
/// > 0 a thread has kHeld fours and holds them in registers, all asked for at once and read once;
/// with 0 it reads them again for every pass. A pass takes the fours in the same order either way.
/// They are float32 whatever is stored.
template <class T, int kHeld, typename Stored = float>
class Row {
 public:
  using Team = T;
  /// A row that is stored otherwise.
  template <typename X>
  using Of = Row<T, kHeld, X>;

  __device__ __forceinline__ Row(const Stored* x, size_t n) : x_(x), n_(n) {
    if constexpr (kHeld > 0) {
      if (n % 4 == 0 && moves_whole(x, 0, 4)) {
#pragma unroll
        for (int k = 0; k < kHeld; ++k)
          held_[k] = place(k) < n ? load_whole_floats(x + place(k)) : Four<float>{};
      } else {
#pragma unroll
        for (int k = 0; k < kHeld; ++k) held_[k] = load_floats(x, place(k), n);
      }
    }
  }

  __device__ __forceinline__ Four<float> four(int k) const {
    if constexpr (kHeld > 0)
      return held_[k];
    else
      return load_floats(x_, place(k), n_);
  }
  /// Calls body(k, i) for each of this thread's fours, which begins at element i.
  template <class Body>
  __device__ __forceinline__ void each(Body body) const {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int k = 0; k < kHeld; ++k)
        if (place(k) < n_) body(k, place(k));
    } else {
      for (int k = 0; place(k) < n_; ++k) body(k, place(k));
    }
  }
  /// The sum of what values(k), a four for each of the row, gives for its n elements.
  template <class Values>
  __device__ __forceinline__ float sum(Values values) const {
    float total = 0;
    each([&](int k, size_t i) {
      const Four<float> four = values(k);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (i + e < n_) total += four.at[e];
    });
    return T::sum(total);
  }

 private:
  static __device__ __forceinline__ size_t place(int k) {
    return 4 * (T::rank() + static_cast<size_t>(k) * T::kSize);
  }

  const Stored* x_;
  size_t n_;
  Four<float> held_[kHeld > 0 ? kHeld : 1];
};

/// A Row's type, to be handed to a lambda.
template <class R>
struct RowKind {
  using Row = R;
};

/// Calls launch_with(RowKind<R>()) with the R for rows of `cols`.
template <class LaunchWith>
cudaError_t with_row(size_t cols, LaunchWith launch_with) {
  if (cols <= 256) return launch_with(RowKind<Row<Team<kWarp>, 2>>());
  if (cols <= 4096) return launch_with(RowKind<Row<Team<256>, 4>>());
  if (cols <= 8192) return launch_with(RowKind<Row<Team<512>, 4>>());
  return launch_with(RowKind<Row<Team<1024>, 0>>());
}

}  // namespace llmkit::cuda
