# CUDA sources besides the ops' NAME_cuda.cu, read by CMakeLists.txt in builds with CUDA.
list(APPEND sources attention/cuda/tiles.cu)
list(APPEND sources cuda/column_sum.cu)
