#include "cpu/adamw/adamw_8bit.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "cpu/adamw/dynamic_map.h"
#include "cpu/adamw/factors.h"

namespace llmkit {
namespace {

/// A state of one block, in float32 while it is updated.
struct BlockState {
  const DynamicMap& map;
  float values[kStateBlock];

  explicit BlockState(const DynamicMap& of) : map(of) {}

  void read(const uint8_t* codes, float scale, size_t count) {
    for (size_t i = 0; i < count; ++i) values[i] = map.values[codes[i]] * scale;
  }
  void write(uint8_t* codes, float* scale, size_t count) const {
    float largest = 0;
    for (size_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(values[i]));
    *scale = largest;
    for (size_t i = 0; i < count; ++i)
      codes[i] = map.code_of(largest > 0 ? values[i] / largest : 0);
  }
};

}  // namespace

void adamw_8bit(size_t n, const Adamw8State& state, const AdamwHyper& hyper) {
  static const DynamicMap of_m(true), of_v(false);
  const AdamwFactors factors = adamw_factors(hyper);
  const AdamwKernels& kernels = adamw_kernels();
  parallel_for((n + kStateBlock - 1) / kStateBlock, 1, [&](size_t first, size_t last) {
    BlockState m(of_m), v(of_v);
    for (size_t block = first; block < last; ++block) {
      const size_t begin = block * kStateBlock, count = std::min(kStateBlock, n - begin);
      m.read(state.m + begin, state.m_scales[block], count);
      v.read(state.v + begin, state.v_scales[block], count);
      const AdamwState floats = {state.parameter + begin, state.gradient + begin, m.values,
                                 v.values};
      kernels.run(0, count, floats, factors);
      m.write(state.m + begin, state.m_scales + block, count);
      v.write(state.v + begin, state.v_scales + block, count);
    }
  });
}

}  // namespace llmkit
