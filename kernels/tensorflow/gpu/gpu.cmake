# The kernels for TensorFlow's GPU device, in the addon with its ops; and for tests an addon whose
# kernels run on the emulated device, in the place of TensorFlow's CPU. They are C++ of one TensorFlow
# version: the one whose headers lie in LLMKIT_TENSORFLOW_DIR.

if(NOT EXISTS ${LLMKIT_TENSORFLOW_DIR}/include/tensorflow/core/framework/op_kernel.h)
  message(STATUS "Without kernels for TensorFlow's GPU device: its C++ headers are not there")
  return()
endif()

file(GLOB tensorflow_gpu_kernels CONFIGURE_DEPENDS tensorflow/gpu/*.cc)
list(FILTER tensorflow_gpu_kernels EXCLUDE REGEX "_device\\.cc$")

# Adds the kernels on ${device} to an addon, over a library of CUDA kernels.
function(add_gpu_kernels addon device library)
  set(objects tensorflow_${device})
  add_library(${objects} OBJECT ${tensorflow_gpu_kernels} tensorflow/gpu/${device}_device.cc)
  target_include_directories(${objects} SYSTEM PRIVATE ${LLMKIT_TENSORFLOW_DIR}/include)
  # As TensorFlow's own build has it: another value changes the size of its types.
  target_compile_definitions(${objects} PRIVATE EIGEN_MAX_ALIGN_BYTES=64)
  # Of the library only how it is compiled: building the objects does not wait for it.
  target_include_directories(${objects} SYSTEM PRIVATE
    $<TARGET_PROPERTY:${library},INTERFACE_INCLUDE_DIRECTORIES>)
  foreach(property COMPILE_DEFINITIONS COMPILE_OPTIONS)
    set_property(TARGET ${objects} APPEND PROPERTY
                 ${property} $<TARGET_PROPERTY:${library},INTERFACE_${property}>)
  endforeach()
  target_sources(${addon} PRIVATE $<TARGET_OBJECTS:${objects}>)
  target_compile_definitions(${addon} PRIVATE LLMKIT_TENSORFLOW_GPU)
  target_link_libraries(${addon} PRIVATE ${library})
endfunction()

if(LLMKIT_TENSORFLOW_GPU AND TARGET cuda_kernels)
  add_gpu_kernels(llmkit_tensorflow gpu cuda_kernels)
elseif(TARGET cuda_kernels_emulated)
  add_tensorflow_addon(llmkit_tensorflow_emulated)
  add_gpu_kernels(llmkit_tensorflow_emulated emulated cuda_kernels_emulated)
endif()
