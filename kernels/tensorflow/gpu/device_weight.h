#pragma once

#include <memory>

#include "cuda/packed/packed.h"
#include "tensorflow/gpu/kernel.h"

namespace llmkit::tensorflow_gpu {

/// A frozen weight in memory of the GPU.
struct DeviceWeight {
  WeightView view;  // device pointers; null where it is packed
  std::unique_ptr<cuda::PackedWeight> packed;
  std::vector<tf::Tensor> memory;
};

/// The weight that nameWeight gave this number, copied to the GPU with the first call; in bf16 it
/// is packed there. Its memory is TensorFlow's, given back by forgetWeight: what is queued by then
/// runs before the next owner's work.
std::shared_ptr<const DeviceWeight> device_weight(const Call& call, int64_t number);

}  // namespace llmkit::tensorflow_gpu
