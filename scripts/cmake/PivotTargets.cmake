# How libraries, tests and fuzzers of Pivot are declared. The link graph is the include graph.

add_library(pivot_flags INTERFACE)
target_include_directories(pivot_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
target_compile_options(
  pivot_flags
  INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall
            -Wextra
            -Wshadow
            -Wnon-virtual-dtor
            -Werror
            -fno-math-errno
            -fopenmp-simd>)
# g++ 12 warns of overlapping copies inside std::string that cannot be (GCC bug 105651).
target_compile_options(pivot_flags
                       INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>)
if(PIVOT_NATIVE)
  target_compile_options(pivot_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
endif()
if(PIVOT_SANITIZE)
  target_compile_options(
    pivot_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${PIVOT_SANITIZE}
                          -fno-omit-frame-pointer -fno-sanitize-recover=all>)
  # Instrumented code makes g++ 12 see uninitialised reads inside <regex>.
  target_compile_options(pivot_flags
                         INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-maybe-uninitialized>)
  target_link_options(pivot_flags INTERFACE -fsanitize=${PIVOT_SANITIZE})
endif()

if(PIVOT_WITH_CUDA)
  target_compile_definitions(pivot_flags INTERFACE PIVOT_WITH_CUDA)
  set(gencode "")
  foreach(arch IN LISTS PIVOT_CUDA_ARCHS)
    list(APPEND gencode "-gencode=arch=compute_${arch},code=sm_${arch}")
  endforeach()
  if(80 IN_LIST PIVOT_CUDA_ARCHS)
    list(APPEND gencode "-gencode=arch=compute_80,code=compute_80")
  endif()
  # fmt 9 asks whether constexpr works in a way that nvcc answers wrongly.
  target_compile_options(
    pivot_flags
    INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:${gencode}
              --expt-relaxed-constexpr
              --extended-lambda
              -DFMT_USE_CONSTEXPR=1
              -lineinfo
              -Xcompiler=-Wall
              -Werror=all-warnings>)
endif()

# pivot_library(pivot_x SOURCES ... DEPS ... [PRIVATE_DEPS ...])
function(pivot_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC pivot_flags ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
endfunction()

# pivot_test(name SOURCES ... DEPS ... [LABEL fast|slow]): one Catch2 program, run by ctest.
function(pivot_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL fast)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} pivot_test_support)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 600)
endfunction()
