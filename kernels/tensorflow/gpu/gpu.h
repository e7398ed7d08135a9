#pragma once

#include <string>
#include <vector>

namespace llmkit::tensorflow_gpu {

/// Registers the kernels for TensorFlow's GPU device with the first call; the names of their ops.
const std::vector<std::string>& registered_kernels();

/// Whether they run on the emulated device, in the place of TensorFlow's CPU.
bool is_emulated();

}  // namespace llmkit::tensorflow_gpu
