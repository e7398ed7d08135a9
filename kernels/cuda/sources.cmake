# What the builds of the CUDA kernels share: for the emulated device (emulated.cmake) and for GPUs
# (nvcc.cmake).

file(GLOB cuda_kernels CONFIGURE_DEPENDS cuda/*/*.cu cuda/*/*.cc)
list(FILTER cuda_kernels EXCLUDE REGEX "/(test_[a-z0-9_]+\\.cu|test\\.cc)$|/cuda/(bench|binding|emulator|test)/")
file(GLOB cuda_tests CONFIGURE_DEPENDS cuda/*/test.cc)
file(GLOB cuda_bench CONFIGURE_DEPENDS cuda/bench/*.cc cuda/bench/*.cu)
file(GLOB cuda_binding CONFIGURE_DEPENDS cuda/binding/*.cc)
list(APPEND cuda_binding binding/arguments.cc binding/weight_reader.cc)

# The Node addon ${file}.node over a library of kernels.
function(add_cuda_addon target file library)
  add_library(${target} MODULE ${cuda_binding})
  target_include_directories(${target} SYSTEM PRIVATE ${napi_headers})
  target_compile_definitions(${target} PRIVATE NAPI_VERSION=9 NAPI_CPP_EXCEPTIONS)
  target_link_libraries(${target} PRIVATE ${library})
  set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME ${file} SUFFIX .node)
endfunction()
