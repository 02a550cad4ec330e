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
if(PIVOT_MARCH)
  target_compile_options(pivot_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=${PIVOT_MARCH}>)
elseif(PIVOT_NATIVE)
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

# pivot_emulated_kernel(variable kernels/x/y.cu): in `variable` the object library of a CUDA source
# compiled as C++ for the emulator (docs/simt.md), made when first asked for.
function(pivot_emulated_kernel variable source)
  string(REGEX REPLACE "[/.]" "_" target "simt_${source}")
  if(NOT TARGET ${target})
    set(wrapper ${CMAKE_BINARY_DIR}/simt/${target}.cc)
    file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${source}\"\n")
    add_library(${target} OBJECT ${wrapper})
    target_include_directories(${target} BEFORE PRIVATE ${CMAKE_SOURCE_DIR}/tests/simt/shadow)
    # Device code has no rule about aliasing, and fuses multiply-adds. What GPUs refuse or compute
    # in their own way is checked (tests/simt/checks.cc).
    target_compile_options(
      ${target} PRIVATE -include ${CMAKE_SOURCE_DIR}/tests/simt/simt.h -O2 -fno-strict-aliasing
                        -ffp-contract=fast -Wno-unknown-pragmas -Wno-extra -Wno-shadow
                        -fsanitize=alignment,bounds,shift,signed-integer-overflow
                        -fno-sanitize-recover=all)
    target_link_libraries(${target} PRIVATE pivot_flags)
    set_property(SOURCE ${wrapper} APPEND PROPERTY OBJECT_DEPENDS
                 ${CMAKE_SOURCE_DIR}/tests/simt/simt.h)
  endif()
  set(${variable} ${target} PARENT_SCOPE)
endfunction()

# pivot_cuda_test(name SOURCES ... KERNELS kernels/x/y.cu ... DEPS ...): a Catch2 program that runs
# on the GPU (gpu_name) in builds with CUDA; emulated (simt_name), with these kernels, in others.
# TWINS: ops that these sources call have their CUDA twins, which KERNELS define, in both.
function(pivot_cuda_test name)
  cmake_parse_arguments(ARG "TWINS" "" "SOURCES;KERNELS;DEPS" ${ARGN})
  if(PIVOT_WITH_CUDA)
    pivot_test(gpu_${name} SOURCES ${ARG_SOURCES} DEPS ${ARG_DEPS} LABEL gpu)
    target_sources(gpu_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support/need_gpu.cc)
    set_tests_properties(gpu_${name} PROPERTIES SKIP_RETURN_CODE 77)
    foreach(kernel IN LISTS ARG_KERNELS)
      if(kernel MATCHES "^tests/")  # the others are in pivot_kernels
        target_sources(gpu_${name} PRIVATE ${CMAKE_SOURCE_DIR}/${kernel})
      endif()
    endforeach()
  elseif(NOT PIVOT_SANITIZE MATCHES "thread")  # it does not know fibers; all run on one thread
    pivot_test(simt_${name} SOURCES ${ARG_SOURCES} DEPS ${ARG_DEPS})
    if(ARG_TWINS)
      target_compile_definitions(simt_${name} PRIVATE PIVOT_WITH_CUDA)
    endif()
    # The emulated runtime takes the place of src/core/cuda_absent.cc: objects come before archives.
    target_sources(simt_${name} PRIVATE $<TARGET_OBJECTS:pivot_simt>)
    foreach(kernel IN LISTS ARG_KERNELS)
      pivot_emulated_kernel(object ${kernel})
      target_sources(simt_${name} PRIVATE $<TARGET_OBJECTS:${object}>)
    endforeach()
  endif()
endfunction()
