#pragma once

#include "cuda/testing/testing.h"

namespace llmkit::cuda::testing {

/// How often a call is made to see whether its bits are always the same: LLMKIT_RUNS times, or a
/// hundred times on a GPU, whose blocks end in another order each time, and twice on the emulated
/// device, where they do not.
inline int runs() {
  const char* const wanted = std::getenv("LLMKIT_RUNS");
  if (wanted != nullptr) return std::atoi(wanted);
#ifdef LLMKIT_EMULATED
  return 2;
#else
  return 100;
#endif
}

/// A run makes its results and its workspace in memory of its own, full of NaN, and returns the
/// results, a vector for each: every run's have the bytes of the first one's.
template <class Run>
void check_runs(Checks& checks, const char* what, const Run& run) {
  const std::vector<std::vector<float>> first = run();
  for (int i = 1; i < runs(); ++i) {
    const std::vector<std::vector<float>> again = run();
    for (size_t result = 0; result < first.size(); ++result)
      checks.that(what, same_bytes(again[result], first[result]));
  }
}

}  // namespace llmkit::cuda::testing
