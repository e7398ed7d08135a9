#pragma once

#include <string>
#include <vector>

namespace llmkit::tensorflow_gpu {

/// Registers the kernels for TensorFlow's GPU device with the first call; the names of their ops.
const std::vector<std::string>& registered_kernels();

}  // namespace llmkit::tensorflow_gpu
