# Every package the program stands on, each found once and named as an imported target.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(HDF5 REQUIRED COMPONENTS C)
pkg_check_modules(TOMLPP REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)

# Found by hand: Debian 13's sentencepiece.pc names protobuf-lite, which its package does not bring.
find_path(SENTENCEPIECE_INCLUDE_DIR sentencepiece_trainer.h REQUIRED)
find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
find_library(SENTENCEPIECE_TRAIN_LIBRARY sentencepiece_train REQUIRED)
add_library(sentencepiece::sentencepiece INTERFACE IMPORTED GLOBAL)
target_include_directories(sentencepiece::sentencepiece INTERFACE ${SENTENCEPIECE_INCLUDE_DIR})
target_link_libraries(sentencepiece::sentencepiece INTERFACE ${SENTENCEPIECE_LIBRARY}
                                                             ${SENTENCEPIECE_TRAIN_LIBRARY})

# CUDA: with AUTO, where a toolkit and a GPU are found. PIVOT_CUDA_ARCHS: sm_90a (Hopper) and sm_80
# (portable, also as PTX for anything newer).
set(PIVOT_CUDA_ARCHS "90a;80" CACHE STRING "CUDA architectures to compile for")
set(PIVOT_WITH_CUDA OFF)
set(PIVOT_WITH_CUDNN OFF)
if(NOT PIVOT_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit QUIET)
  file(GLOB gpus /dev/nvidia[0-9]*)
  if(PIVOT_CUDA STREQUAL "ON" OR (CUDAToolkit_FOUND AND gpus))
    find_package(CUDAToolkit 12.3 REQUIRED)
    set(CMAKE_CUDA_ARCHITECTURES OFF)  # the flags of PIVOT_CUDA_ARCHS take its place
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
    enable_language(CUDA)
    if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
      # CMake 3.25 (Debian 12) does not know that nvcc has C++20.
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    set(PIVOT_WITH_CUDA ON)
    # cuDNN comes with the toolkit or with Python's packages (CUDNN_ROOT: scripts/gpu_check.sh finds
    # them), the frontend (headers only) by scripts/cuda_headers.sh. Both are optional: without them
    # dense attention is our own kernel.
    find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDNN_ROOT}/include ${CUDAToolkit_INCLUDE_DIRS})
    find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9
                 HINTS ${CUDNN_ROOT}/lib ${CUDAToolkit_LIBRARY_DIR})
    find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h
              HINTS ${CMAKE_SOURCE_DIR}/.deps/cudnn-frontend/include)
    foreach(part IN ITEMS CUDNN_INCLUDE_DIR CUDNN_LIBRARY CUDNN_FRONTEND_INCLUDE_DIR)
      if(NOT ${part})
        message(STATUS "cuDNN: no ${part}; scripts/cuda_headers.sh says how to get it")
        set(PIVOT_WITHOUT_CUDNN_PART ON)
      endif()
    endforeach()
    if(NOT PIVOT_WITHOUT_CUDNN_PART AND NOT TARGET CUDA::nvrtc)
      message(STATUS "cuDNN: the toolkit has no libnvrtc, which the frontend links")
      set(PIVOT_WITHOUT_CUDNN_PART ON)
    endif()
    if(NOT PIVOT_WITHOUT_CUDNN_PART)
      set(PIVOT_WITH_CUDNN ON)
      add_library(cudnn::cudnn INTERFACE IMPORTED GLOBAL)
      target_include_directories(cudnn::cudnn INTERFACE ${CUDNN_FRONTEND_INCLUDE_DIR}
                                                        ${CUDNN_INCLUDE_DIR})
      target_compile_definitions(cudnn::cudnn INTERFACE CUDNN_FRONTEND_SKIP_JSON_LIB)
      target_link_libraries(cudnn::cudnn INTERFACE ${CUDNN_LIBRARY} CUDA::nvrtc CUDA::cudart)
    endif()
  endif()
endif()
message(STATUS "CUDA: ${PIVOT_WITH_CUDA} (${PIVOT_CUDA}); cuDNN: ${PIVOT_WITH_CUDNN}")
