#pragma once
/// Low-rank adapters on the matrices of the blocks: W + (alpha / rank) B A with W frozen.
///
/// A block runs on its effective weights, made in scratch memory just before (LayerWeights), by the
/// ordinary block code; its backward pass leaves the gradient of one layer's effective weights in
/// scratch, from which those of A and B follow. docs/decisions.md says what that costs and buys.

#include <cstdint>
#include <string>
#include <vector>

#include "src/core/context.h"
#include "src/model/config.h"
#include "src/model/params.h"

namespace pivot {

struct LoraConfig {
  int64_t rank = 0;  // R
  double alpha = 0;
  std::vector<std::string> targets = {"all"};

  template <class V>
  void visit(V&& v) {
    v("rank", rank, "train adapters of this rank instead of the weights; 0 trains the weights");
    v("alpha", alpha, "adapters count alpha / rank times; 0 takes twice the rank");
    v("targets", targets,
      "matrices with adapters: all, or of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
      "down_proj");
  }

  bool on() const { return rank > 0; }
  double effective_alpha() const { return alpha > 0 ? alpha : 2.0 * static_cast<double>(rank); }
  double scale() const { return effective_alpha() / static_cast<double>(rank); }
};

/// A linear map of a block as others know it: rows of one of Pivot's (fused) matrices.
enum class Projection : uint8_t { Q, K, V, O, Gate, Up, Down };
inline constexpr int kProjections = 7;
const char* to_string(Projection p);  // "q_proj"
/// Rows of the matrix that holds it, (O, I); absent where the matrix is.
Tensor rows_of(const LayerParams& layer, const ModelConfig& config, Projection p);
Shape shape_of(const ModelConfig& config, Projection p);

/// Throws UserError naming the key that is wrong.
void validate(const LoraConfig& lora);
/// In the order of Projection, each once.
std::vector<Projection> lora_targets(const LoraConfig& lora);

/// A and B of every target, in storage order: "layers.0.q_proj.lora_a" (R, I), then
/// "layers.0.q_proj.lora_b" (O, R). A is uniform within 1 / sqrt(I), B zero: the model at the start
/// is the base.
std::vector<ParamInfo> list_adapters(const ModelConfig& config, const LoraConfig& lora);

struct Adapter {
  Projection projection;
  Tensor a;  // (R, I)
  Tensor b;  // (O, R)
};
using LayerAdapters = std::vector<Adapter>;
/// Views into a flat tensor in the order of list_adapters(), one list per layer.
std::vector<LayerAdapters> bind_adapters(const ModelConfig& config, const LoraConfig& lora,
                                         const Tensor& flat);

/// The adapters of a model; without layers: none.
struct Lora {
  LoraConfig config;
  std::vector<LayerAdapters> compute;  // in the compute dtype, for the effective weights
  std::vector<LayerAdapters> master;   // F32, for the gradients; in F32 the same memory
  bool on() const { return !compute.empty(); }
  float scale() const { return static_cast<float>(config.scale()); }
};

struct Model;

/// The weights blocks compute with, a layer at a time.
class LayerWeights {
 public:
  /// With adapters, takes scratch for the adapted matrices of one layer.
  LayerWeights(const Model& model, Context& ctx);
  /// Valid until the next call. Asked again for the same layer it does nothing.
  const LayerParams& of(int layer, Context& ctx);

 private:
  const Model& model_;
  LayerParams scratch_;  // the adapted matrices
  LayerParams merged_;   // those and the base's others
  int layer_ = -1;
};

/// Where a backward pass accumulates: gradients of all parameters or, with adapters, of those
/// alone.
struct Gradients {
  Params params;                        // F32; without adapters
  std::vector<LayerAdapters> adapters;  // F32
};

/// Gradients of one layer's effective weights. Without adapters a view into Gradients.
class LayerGradients {
 public:
  /// With adapters, takes scratch for one layer: adapted matrices, norms. Frozen matrices and
  /// biases are absent: nobody computes their gradients.
  LayerGradients(const Model& model, Gradients& gradients, Context& ctx);
  /// To accumulate the layer's gradients in; zero at first with adapters.
  LayerParams& begin(int layer, Context& ctx);
  /// Passes them on to the adapters of the layer that began.
  void end(int layer, Context& ctx);

 private:
  const Model& model_;
  Gradients& gradients_;
  LayerParams layer_;
  Tensor memory_;  // (.) F32: all of layer_
};

/// Copies what the model computes with into `out`, of its dtype and device. Takes scratch of one
/// layer.
void merge_adapters(const Model& model, const Params& out, Context& ctx);

}  // namespace pivot
