# The kernels for TensorFlow's GPU device, in the addon with its ops. They are C++ of one TensorFlow
# version: the one whose headers lie in LLMKIT_TENSORFLOW_DIR.

if(NOT EXISTS ${LLMKIT_TENSORFLOW_DIR}/include/tensorflow/core/framework/op_kernel.h)
  message(STATUS "Without kernels for TensorFlow's GPU device: its C++ headers are not there")
  return()
endif()

file(GLOB gpu_kernels CONFIGURE_DEPENDS tensorflow/gpu/*.cc)
add_library(tensorflow_gpu OBJECT ${gpu_kernels})
target_include_directories(tensorflow_gpu SYSTEM PRIVATE ${LLMKIT_TENSORFLOW_DIR}/include
                                                        ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
# As TensorFlow's own build has it: another value changes the size of its types.
target_compile_definitions(tensorflow_gpu PRIVATE EIGEN_MAX_ALIGN_BYTES=64)

target_sources(llmkit_tensorflow PRIVATE $<TARGET_OBJECTS:tensorflow_gpu>)
target_compile_definitions(llmkit_tensorflow PRIVATE LLMKIT_TENSORFLOW_GPU)
target_link_libraries(llmkit_tensorflow PRIVATE cuda_kernels)
