# The kernels as ops for TensorFlow, in an addon beside tfjs-node's: only the C API, so that it fits
# any version. Included by ../CMakeLists.txt with -DLLMKIT_TENSORFLOW_DIR.

find_library(tensorflow_framework NAMES tensorflow_framework libtensorflow_framework.so.2
             PATHS ${LLMKIT_TENSORFLOW_DIR}/lib NO_DEFAULT_PATH REQUIRED)
file(GLOB tensorflow_ops CONFIGURE_DEPENDS tensorflow/*.cc)
list(APPEND tensorflow_ops
  binding/arguments.cc binding/arrays.cc binding/attention.cc binding/host_arguments.cc
  binding/machine.cc binding/recording.cc binding/weight_reader.cc binding/weights.cc)

# The Node addon ${target}.node.
function(add_tensorflow_addon target)
  add_library(${target} MODULE ${tensorflow_ops})
  target_include_directories(${target} SYSTEM PRIVATE
                             ${napi_headers} ${LLMKIT_TENSORFLOW_DIR}/include)
  # IS_SLIM_BUILD leaves out of its kernels.h what pulls in the headers of the C++ API.
  target_compile_definitions(${target} PRIVATE NAPI_VERSION=9 NAPI_CPP_EXCEPTIONS IS_SLIM_BUILD)
  target_link_libraries(${target} PRIVATE kernels ${tensorflow_framework})
  if(APPLE)
    target_link_options(${target} PRIVATE -undefined dynamic_lookup)
  endif()
  # TensorFlow is in the process already, wherever it came from.
  set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX .node SKIP_BUILD_RPATH ON)
endfunction()

add_tensorflow_addon(llmkit_tensorflow)
