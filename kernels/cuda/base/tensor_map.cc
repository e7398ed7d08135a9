#include "cuda/base/tensor_map.h"

namespace llmkit::cuda {

#ifdef LLMKIT_EMULATED

cudaError_t make_tensor_map(const Bf16Matrix& matrix, int box_rows, TensorMap* map) {
  *map = {reinterpret_cast<const char*>(matrix.values), matrix.rows, matrix.cols, matrix.step * 2,
          box_rows};
  const bool fits = matrix.rows > 0 && matrix.cols > 0 && box_rows <= 256 && matrix.step % 8 == 0 &&
                    reinterpret_cast<uintptr_t>(matrix.values) % 16 == 0;
  return fits ? cudaSuccess : cudaErrorInvalidValue;
}

#else

namespace {

/// The driver's function, asked of the runtime: nothing links the driver.
decltype(&cuTensorMapEncodeTiled) find_encoder() {
  constexpr const char* kName = "cuTensorMapEncodeTiled";
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(kName, &function, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t error = cudaGetDriverEntryPoint(kName, &function, cudaEnableDefault, &found);
#endif
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

}  // namespace

cudaError_t make_tensor_map(const Bf16Matrix& matrix, int box_rows, TensorMap* map) {
  static const auto encode = find_encoder();
  if (encode == nullptr) return cudaErrorNotSupported;
  const cuuint64_t sizes[] = {matrix.cols, matrix.rows}, row_bytes[] = {matrix.step * sizeof(bf16)};
  const cuuint32_t box[] = {kBoxColumns, static_cast<cuuint32_t>(box_rows)}, every[] = {1, 1};
  const CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<bf16*>(matrix.values), sizes,
             row_bytes, box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

#endif

}  // namespace llmkit::cuda
