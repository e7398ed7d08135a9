#pragma once

#include <cstring>

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// e^x for x <= 0, operation by operation as fdlibm's e_exp.c and kernels/cpu/sample/generic.h, so
/// that a token has the same weight everywhere. https://www.netlib.org/fdlibm/e_exp.c
__device__ inline double exp_of_negative(double argument) {
  const double x = argument > -746.0 ? argument : -746.0;  // e^-746 is 0
  const int whole = static_cast<int>(1.44269504088896338700 * x - 0.5);
  const double k = x > -0x1.62e43p-2 ? 0.0 : static_cast<double>(whole);
  const double high = x - k * 6.93147180369123816490e-01;
  const double low = k * 1.90821492927058770002e-10;
  const double r = high - low, t = r * r;
  const double tail = 6.61375632143793436117e-05 +
                      t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08);
  const double c =
      r - t * (1.66666666666666019037e-01 + t * (-2.77777777770155933842e-03 + t * tail));
  const double y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
  if (x > -0x1p-28) return 1.0 + x;
  // In two steps where 2^k is below the normal numbers.
  const bool tiny = k < -1021.0;
  const int64_t bits = (static_cast<int64_t>(tiny ? k + 1000.0 : k) + 1023) << 52;
  double power;
  memcpy(&power, &bits, sizeof power);
  return y * power * (tiny ? 0x1p-1000 : 1.0);
}

}  // namespace llmkit::cuda
