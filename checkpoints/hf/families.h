#pragma once
/// The families of Hugging Face models that Pivot computes, each as transformers defines it.

#include <array>
#include <cstdint>

namespace pivot {

/// Which layers attend through a sliding window.
enum class HfWindow {
  None,
  Always,   // all, by sliding_window, which is 4096 if absent and null for none
  OnDemand  // some, where use_sliding_window says so
};

struct HfFamily {
  const char* type;          // model_type
  const char* architecture;  // of a language model
  bool qkv_bias;
  bool qk_norm;
  // Defaults of keys that config.json may leave out; 0: no fixed default.
  int64_t kv_heads;  // 0: as many as heads
  int64_t head_dim;  // 0: hidden_size / heads
  int64_t context;
  HfWindow window;
};

inline constexpr std::array<HfFamily, 4> kHfFamilies = {{
    {"llama", "LlamaForCausalLM", false, false, 0, 0, 2048, HfWindow::None},
    {"mistral", "MistralForCausalLM", false, false, 8, 0, 131072, HfWindow::Always},
    {"qwen2", "Qwen2ForCausalLM", true, false, 32, 0, 32768, HfWindow::OnDemand},
    {"qwen3", "Qwen3ForCausalLM", false, true, 32, 128, 32768, HfWindow::OnDemand},
}};

}  // namespace pivot
