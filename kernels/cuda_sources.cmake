# CUDA sources besides the ops' NAME_cuda.cu, read by CMakeLists.txt in builds with CUDA.
list(APPEND sources attention/cuda/tiles.cu)
list(APPEND sources cuda/blas.cc cuda/blas_choices.cc cuda/blas_problem.cc matmul/column_sums.cu
     matmul/matmul_cuda.cc cross_entropy/cross_entropy_cuda.cc cross_entropy/softmax_rows.cu)
list(APPEND libraries nlohmann_json::nlohmann_json)
