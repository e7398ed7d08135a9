#pragma once

#include "cuda/base/id_report.h"

namespace llmkit::cuda {

/// Where kernels say that an id of the device is out of range. The host cannot look at such ids
/// without waiting, so it hears of them when it next waits.
IdReport* id_report();

/// Throws Error where a kernel that is done found an id out of range, once for all of them. To be
/// called after each wait for the stream.
void check_ids();

}  // namespace llmkit::cuda
