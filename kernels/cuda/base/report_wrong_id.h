#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/base/cuda.h"
#include "cuda/base/id_report.h"

namespace llmkit::cuda {

/// Says that an id is not in [0, limit); a null report is told nothing.
__device__ __forceinline__ void report_wrong_id(IdReport* report, int32_t id, size_t limit) {
  if (report != nullptr)
    report->word = static_cast<uint64_t>(limit) << 32 | static_cast<uint32_t>(id);
}

}  // namespace llmkit::cuda
