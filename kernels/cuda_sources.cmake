# CUDA sources besides the ops' NAME_cuda.cu, read by CMakeLists.txt in builds with CUDA.
list(APPEND sources attention/cuda/tiles.cu)
list(APPEND sources decode_attention/cuda/attend_all.cu decode_attention/cuda/attend_kept.cu
     decode_attention/cuda/merge_parts.cu decode_attention/cuda/score_keys.cu
     decode_attention/cuda/select_keys.cu)
