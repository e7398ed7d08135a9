# The CUDA kernels for NVIDIA GPUs: llmkit_cuda.node, and a program that tests them on one. Included
# by ../CMakeLists.txt with -DLLMKIT_CUDA=ON; needs nvcc 12 or newer, and links the runtime statically
# and no driver, so that what is built here loads on a machine without a GPU.

enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "llmkit_cuda needs nvcc 12, this is ${CMAKE_CUDA_COMPILER_VERSION}")
endif()
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_ARCHITECTURES OFF)  # what follows names them
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)

# 90a is 90 with wgmma and TMA. A chip that is not listed compiles the PTX when it first runs.
set(LLMKIT_CUDA_ARCHITECTURES "80;86;89;90a;100;120" CACHE STRING "Chips to build kernels for")
execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-code OUTPUT_VARIABLE known_chips)
# Making PTX is most of the work, so chips share that of 80 or of 90; 90a has its own only in files that
# name what it alone has.
set(plain_code)
set(warpgroup_code)
foreach(chip ${LLMKIT_CUDA_ARCHITECTURES})
  string(REGEX REPLACE "a$" "" number ${chip})
  if(NOT known_chips MATCHES "sm_${number}[\n ]")
    message(STATUS "nvcc ${CMAKE_CUDA_COMPILER_VERSION} does not know sm_${chip}")
    continue()
  endif()
  if(number LESS 90)
    set(ptx 80)
  else()
    set(ptx 90)
  endif()
  list(APPEND plain_code -gencode=arch=compute_${ptx},code=sm_${chip})
  if(NOT chip STREQUAL number)
    set(ptx ${chip})
  endif()
  list(APPEND warpgroup_code -gencode=arch=compute_${ptx},code=sm_${chip})
endforeach()
file(GLOB sources CONFIGURE_DEPENDS cuda/*/*.cu)
foreach(source ${sources})
  file(STRINGS ${source} uses_warpgroups REGEX LLMKIT_WARPGROUPS)
  if(uses_warpgroups)
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${warpgroup_code}")
  else()
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${plain_code}")
  endif()
endforeach()
add_compile_options(
  $<$<COMPILE_LANGUAGE:CUDA>:-gencode=arch=compute_80,code=compute_80>
  # A product and a sum are fused where the code says fmaf, and nowhere else.
  $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false>
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Werror all-warnings>"
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler -Wall,-Wextra,-ffp-contract=off,-fvisibility=hidden>"
  # Registers and spills of every kernel; keep_messages.sh writes them beside the object.
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xptxas -v>")
set(CMAKE_CUDA_COMPILER_LAUNCHER
    ${CMAKE_CURRENT_SOURCE_DIR}/cuda/keep_messages.sh ${CMAKE_CUDA_COMPILER_LAUNCHER})

add_library(cuda_kernels STATIC ${cuda_kernels})
target_include_directories(cuda_kernels SYSTEM PUBLIC ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_link_libraries(cuda_kernels PUBLIC kernels)

if(napi_headers)
  add_cuda_addon(addon_cuda llmkit_cuda cuda_kernels)
endif()

# One program of all tests, for a machine that has a GPU and may have nothing else: every test's main
# gets a name of its own.
set(declarations)
set(entries)
set(test_objects)
list(FILTER cuda_tests EXCLUDE REGEX "/cuda/emulator/")
foreach(test ${cuda_tests})
  get_filename_component(folder ${test} DIRECTORY)
  get_filename_component(op ${folder} NAME)
  file(GLOB test_kernels CONFIGURE_DEPENDS ${folder}/test_*.cu)
  add_library(cuda_test_${op} OBJECT ${test} ${test_kernels})
  set_source_files_properties(${test} PROPERTIES COMPILE_DEFINITIONS main=test_${op})
  target_link_libraries(cuda_test_${op} PRIVATE cuda_kernels)
  string(APPEND declarations "int test_${op}();\n")
  string(APPEND entries "    {\"${op}\", test_${op}},\n")
  list(APPEND test_objects $<TARGET_OBJECTS:cuda_test_${op}>)
endforeach()
configure_file(cuda/test/tests.inc.in ${CMAKE_CURRENT_BINARY_DIR}/cuda/tests.inc)
add_executable(llmkit_cuda_test cuda/test/main.cc ${test_objects})
target_include_directories(llmkit_cuda_test PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
target_link_libraries(llmkit_cuda_test cuda_kernels)

# The kernels' speed beside the limits of a GPU.
add_executable(llmkit_cuda_bench ${cuda_bench})
target_link_libraries(llmkit_cuda_bench cuda_kernels ${CMAKE_DL_LIBS})
