# CUDA sources besides the ops' NAME_cuda.cu, read by CMakeLists.txt in builds with CUDA.
list(APPEND sources attention/cuda/tiles.cu)
list(APPEND sources cuda/blas.cc cuda/blas_choices.cc cuda/blas_problem.cc matmul/column_sums.cu
     matmul/matmul_cuda.cc lora/lora_cuda.cc cross_entropy/cross_entropy_cuda.cc cross_entropy/softmax_rows.cu)
list(APPEND libraries nlohmann_json::nlohmann_json)
list(APPEND sources attention/attention_cuda.cu attention/cuda/naive.cu attention/cuda/naive_backward.cu)
list(APPEND sources attention/cuda/delta.cu attention/cuda/backward_keys.cu
     attention/cuda/backward_queries.cu attention/cuda/tiled_backward.cu)
list(APPEND sources attention/cuda/forward.cu attention/cuda/select.cu attention/cuda/tiled_forward.cc)
list(APPEND sources cuda/column_sum.cu)
list(APPEND sources decode_attention/cuda/attend_all.cu decode_attention/cuda/attend_kept.cu
     decode_attention/cuda/merge_parts.cu decode_attention/cuda/score_keys.cu
     decode_attention/cuda/select_keys.cu)
list(APPEND sources attention/cuda/cudnn_rows.cu)
