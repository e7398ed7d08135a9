#pragma once

#include <cstdint>

namespace llmkit::cuda {

/// An id that a kernel found out of range, and the range: memory of the host that the device
/// writes. One word, so that whichever of many threads writes last leaves a whole report.
struct IdReport {
  volatile uint64_t word = 0;  // the limit above the id; 0: none
};

}  // namespace llmkit::cuda
