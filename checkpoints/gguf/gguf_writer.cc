#include "checkpoints/gguf/gguf_writer.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "checkpoints/gguf/blocks.h"
#include "checkpoints/gguf/config.h"
#include "checkpoints/gguf/layout.h"
#include "checkpoints/gguf/metadata_writer.h"
#include "checkpoints/gguf/rope.h"
#include "checkpoints/gguf/vocabulary_export.h"
#include "checkpoints/output_file.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"

namespace pivot {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;        // the format's default
constexpr int64_t kChunkFloats = 1 << 22;  // 16 MiB at a time

struct FormatInfo {
  const char* name;
  GgufType type;
  uint32_t file_type;  // general.file_type, llama_ftype of llama.h
};
constexpr FormatInfo kFormats[] = {{"f32", GgufType::F32, 0},
                                   {"f16", GgufType::F16, 1},
                                   {"bf16", GgufType::BF16, 32},
                                   {"q8_0", GgufType::Q8_0, 7}};

const FormatInfo& format_info(GgufFormat format) {
  return kFormats[static_cast<size_t>(format)];
}

uint64_t padded(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

struct OutTensor {
  std::string name;
  Shape shape;
  const GgufTypeInfo* type;
  ParamInfo param;    // where its rows come from
  int64_t first_row;  // there
  HeadRows order;

  uint64_t bytes() const {
    return static_cast<uint64_t>(shape.count() / type->block * type->bytes);
  }
};

class Writer {
 public:
  Writer(const ModelSource& source, const std::string& path, GgufFormat format)
      : source_(source),
        path_(path),
        format_(format_info(format)),
        config_(source.info().model),
        architecture_(gguf_architecture(config_)) {}

  void write() {
    list_tensors();
    add_metadata();
    const std::string header = print_header();
    uint64_t total = header.size() + padded(factors_.size() * sizeof(float));
    for (const OutTensor& tensor : tensors_) total += padded(tensor.bytes());
    require_free_disk(path_, static_cast<int64_t>(total), "the GGUF file");
    OutputFile out(path_);
    out.write(header);
    write_factors(out);
    uint64_t done = 0;
    for (const OutTensor& tensor : tensors_) {
      write_tensor(tensor, out);
      done += tensor.bytes();
      log::status_line(fmt::format("writing {}: {} %", path_, done * 100 / total));
    }
    log::status_line("");
    out.commit();
  }

 private:
  void list_tensors() {
    for (const ParamInfo& param : list_params(config_)) {
      int64_t first = 0;
      for (GgufPart& part : gguf_parts(architecture_, config_, param)) {
        Shape shape = param.shape;
        shape.dim[0] = part.rows;
        const GgufTypeInfo& type = gguf_type(shape.rank == 1 ? GgufType::F32 : format_.type);
        const int64_t width = shape[shape.rank - 1];
        if (width % type.block != 0) {
          throw_user("'{}' has rows of {} elements, {} needs multiples of {}: write f16 or bf16",
                     param.name, width, type.name, type.block);
        }
        tensors_.push_back({part.tensor, shape, &type, param, first, part.order});
        first += part.rows;
      }
    }
    if (config_.rope_scaling.type != "llama3") return;
    if (architecture_ != "llama") {
      throw_user("llama3 RoPE scaling cannot be written to GGUF for architecture {}",
                 architecture_);
    }
    factors_ = llama3_rope_factors(config_);
  }

  void add_metadata() {
    const CheckpointInfo& info = source_.info();
    metadata_.text("general.architecture", architecture_);
    metadata_.text("general.type", "model");
    metadata_.text("general.name", std::filesystem::path(path_).stem().string());
    metadata_.u32("general.file_type", format_.file_type);
    metadata_.u32("general.quantization_version", 2);  // of the layout of blocks

    const auto key = [&](const char* name) { return architecture_ + "." + name; };
    metadata_.u32(key("vocab_size"), config_.vocab);
    metadata_.u32(key("context_length"), config_.context);
    metadata_.u32(key("embedding_length"), config_.dim);
    metadata_.u32(key("block_count"), config_.layers);
    metadata_.u32(key("feed_forward_length"), config_.ffn_dim);
    metadata_.u32(key("attention.head_count"), config_.heads);
    metadata_.u32(key("attention.head_count_kv"), config_.kv_heads);
    metadata_.u32(key("attention.key_length"), config_.head_dim);
    metadata_.u32(key("attention.value_length"), config_.head_dim);
    metadata_.f32(key("attention.layer_norm_rms_epsilon"), config_.norm_eps);
    metadata_.u32(key("rope.dimension_count"), config_.head_dim);
    metadata_.f32(key("rope.freq_base"), config_.rope_theta);
    add_rope_scaling(config_, architecture_, metadata_);

    add_vocabulary(make_gguf_vocabulary(info), metadata_);

    metadata_.text(kPivotAttentionKey, info.attention);
    if (!info.pivot_version.empty()) metadata_.text(kPivotVersionKey, info.pivot_version);
    if (!info.config_toml.empty()) metadata_.text(kPivotConfigKey, info.config_toml);
    if (info.state.step > 0) metadata_.u32(kPivotStepKey, info.state.step);
  }

  // All that precedes the data, and its padding.
  std::string print_header() const {
    std::string header = "GGUF";
    GgufMetadata::append(header, kVersion);
    GgufMetadata::append(header, uint64_t{tensors_.size() + (factors_.empty() ? 0 : 1)});
    GgufMetadata::append(header, metadata_.count());
    header += metadata_.bytes();
    uint64_t offset = 0;
    const auto add = [&](const std::string& name, const Shape& shape, const GgufTypeInfo& type,
                         uint64_t bytes) {
      GgufMetadata::append_text(header, name);
      GgufMetadata::append(header, static_cast<uint32_t>(shape.rank));
      for (int i = shape.rank - 1; i >= 0; --i) {
        GgufMetadata::append(header, static_cast<uint64_t>(shape[i]));
      }
      GgufMetadata::append(header, type.id);
      GgufMetadata::append(header, offset);
      offset += padded(bytes);
    };
    if (!factors_.empty()) {
      add(kRopeFactorsTensor, {static_cast<int64_t>(factors_.size())}, gguf_type(GgufType::F32),
          factors_.size() * sizeof(float));
    }
    for (const OutTensor& t : tensors_) add(t.name, t.shape, *t.type, t.bytes());
    header.resize(padded(header.size()), '\0');
    return header;
  }

  void write_factors(OutputFile& out) const {
    if (factors_.empty()) return;
    const uint64_t bytes = factors_.size() * sizeof(float);
    out.write({reinterpret_cast<const char*>(factors_.data()), bytes});
    out.write(std::string(padded(bytes) - bytes, '\0'));
  }

  void write_tensor(const OutTensor& tensor, OutputFile& out) {
    const int64_t rows = tensor.shape[0];
    const int64_t width = tensor.shape.count() / rows;
    const int64_t row_bytes_times_block = width * tensor.type->bytes;
    // Whole heads, whose rows are exchanged among each other.
    const int64_t unit = tensor.order == HeadRows::Interleaved ? config_.head_dim : 1;
    const int64_t step = std::max<int64_t>(1, kChunkFloats / (width * unit)) * unit;
    for (int64_t begin = 0; begin < rows; begin += step) {
      const int64_t count = std::min(step, rows - begin);
      read_.resize(static_cast<size_t>(count * width));
      const int64_t from = tensor.first_row + begin;
      source_.read(tensor.param, from, from + count, read_.data());
      if (tensor.order == HeadRows::Interleaved) interleave(count, width);
      encoded_.resize(static_cast<size_t>(count * row_bytes_times_block / tensor.type->block));
      const auto type = static_cast<GgufType>(tensor.type->id);
      if (!quantize(type, read_.data(), count * width, encoded_.data())) {
        throw_user("'{}' holds weights that are not finite or too large for {}", tensor.param.name,
                   tensor.type->name);
      }
      out.write({reinterpret_cast<const char*>(encoded_.data()), encoded_.size()});
    }
    out.write(std::string(padded(tensor.bytes()) - tensor.bytes(), '\0'));
  }

  void interleave(int64_t rows, int64_t width) {
    ordered_.resize(read_.size());
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t from = pivot_row(HeadRows::Interleaved, row, config_.head_dim);
      std::copy_n(read_.data() + from * width, width, ordered_.data() + row * width);
    }
    std::swap(read_, ordered_);
  }

  const ModelSource& source_;
  const std::string& path_;
  const FormatInfo& format_;
  const ModelConfig& config_;
  std::string architecture_;
  GgufMetadata metadata_;
  std::vector<float> factors_;  // of llama3 scaling, the first tensor
  std::vector<OutTensor> tensors_;
  std::vector<float> read_, ordered_;
  std::vector<std::byte> encoded_;
};

}  // namespace

GgufFormat parse_gguf_format(const std::string& name) {
  std::string known;
  for (const FormatInfo& format : kFormats) {
    if (name == format.name) return static_cast<GgufFormat>(&format - kFormats);
    known += (known.empty() ? "" : ", ") + std::string(format.name);
  }
  throw_user("GGUF format '{}' is not one of {}", name, known);
}

void write_gguf(const ModelSource& source, const std::string& path, GgufFormat format) {
  Writer(source, path, format).write();
}

}  // namespace pivot
