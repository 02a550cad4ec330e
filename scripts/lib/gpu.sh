# shellcheck shell=bash
# Sourced by quickstart.sh and gpu_check.sh: is there a GPU to build for?

NO_GPU=''    # why not
NVCC=''      # the toolkit's compiler
GPU_ARCH=''  # of PIVOT_CUDA_ARCHS: 90a on Hopper, else the portable 80

# find_gpu: sets NVCC and GPU_ARCH, or NO_GPU and fails.
find_gpu() {
  local capability
  if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
    NO_GPU="nvidia-smi finds no GPU"
    return 1
  fi
  NVCC=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc /usr/local/cuda-*/bin/nvcc 2>/dev/null | head -n 1 || true)
  if [ -z "$NVCC" ]; then
    NO_GPU="there is a GPU but no CUDA toolkit (nvcc); install it to use the GPU"
    return 1
  fi
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1)
  case "$capability" in
    9.0) GPU_ARCH=90a ;;
    [1-7].*) NO_GPU="the GPU's compute capability $capability is below 8.0"; return 1 ;;
    *) GPU_ARCH=80 ;;
  esac
}
