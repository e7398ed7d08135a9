#pragma once

#include <memory>

#include "cuda/packed/packed.h"
#include "tensorflow/gpu/kernel.h"

namespace llmkit::tensorflow_gpu {

/// A frozen weight in memory of the GPU.
struct DeviceWeight {
  WeightView view;  // device pointers; null where it is packed
  std::unique_ptr<cuda::PackedWeight> packed;
  std::vector<Memory> memory;
};

/// The weight that nameWeight gave this number, copied to the GPU with the first call; in bf16 it
/// is packed there. forgetWeight gives its memory back.
std::shared_ptr<const DeviceWeight> device_weight(Call& call, int64_t number);

}  // namespace llmkit::tensorflow_gpu
