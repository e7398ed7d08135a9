#include "cuda/binding/wrong_ids.h"

#include <new>
#include <string>

#include "cuda/binding/error.h"

namespace llmkit::cuda {

IdReport* id_report() {
  static IdReport* const report = [] {
    void* data = nullptr;
    check(cudaHostAlloc(&data, sizeof(IdReport), cudaHostAllocMapped), "ids");
    return new (data) IdReport;
  }();
  return report;
}

void check_ids() {
  IdReport* const report = id_report();
  const uint64_t word = report->word;
  if (word == 0) return;
  report->word = 0;
  throw Error(kDeviceCode, "ids on the GPU must be in 0.." + std::to_string((word >> 32) - 1) +
                               ", got " + std::to_string(static_cast<int32_t>(word)));
}

}  // namespace llmkit::cuda
