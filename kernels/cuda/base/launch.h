#pragma once

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// How a kernel is launched. Shared memory is the dynamic one.
struct Launch {
  dim3 grid, block;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
  /// Whether it may begin while the kernel before it ends. Every thread then calls
  /// wait_for_inputs() before it reads what another kernel wrote and before it writes.
  bool early = false;
#ifdef LLMKIT_EMULATED
  const char* file = __builtin_FILE();  // for messages
  int line = __builtin_LINE();
#endif
};

#ifndef LLMKIT_EMULATED
/// Whether the code of a kernel that this device runs knows wait_for_inputs(): compute capability
/// 9.0 or newer. What a driver makes of older PTX does not, whatever the device.
template <class Kernel>
bool knows_to_wait(Kernel* kernel) {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion >= 90;
}
#endif

/// Queues a kernel; an empty grid queues none. Shared memory beyond 48 KB is asked for here.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), const Launch& how, Arguments... arguments) {
  if (how.grid.x == 0 || how.grid.y == 0 || how.grid.z == 0) return cudaSuccess;
  if (how.shared_bytes > 48 * 1024) {
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(how.shared_bytes));
    if (error != cudaSuccess) return error;
  }
#ifdef LLMKIT_EMULATED
  emulator::Work work;
  work.grid = how.grid;
  work.block = how.block;
  work.shared_bytes = how.shared_bytes;
  work.site = {how.file, how.line};
  work.early = how.early;
  return emulator::launch(kernel, work, how.stream, static_cast<Parameters>(arguments)...);
#else
  cudaLaunchConfig_t config = {};
  config.gridDim = how.grid;
  config.blockDim = how.block;
  config.dynamicSmemBytes = how.shared_bytes;
  config.stream = how.stream;
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &early;
  config.numAttrs = how.early && knows_to_wait(kernel) ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
#endif
}

/// Blocks of `size` that cover `count`.
inline unsigned blocks_of(size_t count, size_t size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

}  // namespace llmkit::cuda
