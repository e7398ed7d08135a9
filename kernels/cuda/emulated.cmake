# The CUDA kernels compiled by the C++ compiler, to run on the emulated device (cuda/emulator).
# Included by ../CMakeLists.txt where tests are built.

file(GLOB cuda_sources CONFIGURE_DEPENDS cuda/*/*.cu)
set_source_files_properties(${cuda_sources} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
file(GLOB cuda_emulator CONFIGURE_DEPENDS cuda/emulator/*.cc)

if(LLMKIT_EMULATED_KERNELS)
  add_library(cuda_kernels_emulated STATIC IMPORTED)
  set_target_properties(cuda_kernels_emulated PROPERTIES
                        IMPORTED_LOCATION ${LLMKIT_EMULATED_KERNELS})
else()
  add_library(cuda_kernels_emulated STATIC ${cuda_kernels} ${cuda_emulator})
  target_compile_definitions(cuda_kernels_emulated PRIVATE LLMKIT_EMULATED)
  target_compile_options(cuda_kernels_emulated PRIVATE -Wno-unknown-pragmas)
endif()
target_compile_definitions(cuda_kernels_emulated INTERFACE LLMKIT_EMULATED)
target_compile_options(cuda_kernels_emulated INTERFACE -Wno-unknown-pragmas)
target_link_libraries(cuda_kernels_emulated INTERFACE kernels)

# One test per folder, in two orders of threads and blocks: a missing barrier shows in one of them.
foreach(test ${cuda_tests})
  get_filename_component(folder ${test} DIRECTORY)
  get_filename_component(op ${folder} NAME)
  file(GLOB test_kernels CONFIGURE_DEPENDS ${folder}/test_*.cu)
  add_executable(test_cuda_${op} ${test} ${test_kernels})
  target_link_libraries(test_cuda_${op} cuda_kernels_emulated)
  foreach(order forward reverse)
    add_test(NAME cuda_${op}_${order} COMMAND test_cuda_${op})
    set_tests_properties(cuda_${op}_${order} PROPERTIES
                         ENVIRONMENT LLMKIT_EMULATED_ORDER=${order})
  endforeach()
endforeach()

# The benchmark times nothing here, but it must run to its last line, attention's works among all others.
add_executable(bench_cuda_emulated ${cuda_bench})
if(LLMKIT_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # With sanitizers GCC 12 warns inside its own <regex>.
  target_compile_options(bench_cuda_emulated PRIVATE -Wno-maybe-uninitialized)
endif()
target_link_libraries(bench_cuda_emulated cuda_kernels_emulated ${CMAKE_DL_LIBS})
add_test(NAME cuda_bench_dry COMMAND bench_cuda_emulated --dry)
set_tests_properties(
  cuda_bench_dry PROPERTIES PASS_REGULAR_EXPRESSION
                            "\nattention .*\nattention's gradient .*works ran once")

# The addon on the emulated device, for the tests in TypeScript.
if(napi_headers)
  add_cuda_addon(addon_cuda_emulated llmkit_cuda_emulated cuda_kernels_emulated)
endif()
