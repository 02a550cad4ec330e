// Files from disks and downloads: safetensors, checkpoints, shards.
#include <algorithm>
#include <cstring>
#include <filesystem>

#include "checkpoints/checkpoint.h"
#include "checkpoints/manifest.h"
#include "checkpoints/safetensors.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"

namespace pivot::fuzz {
namespace {

namespace fs = std::filesystem;

ModelConfig small_config() {
  ModelConfig config;
  config.vocab = 4;
  config.dim = 8;
  config.layers = 1;
  config.heads = config.kv_heads = 1;
  config.head_dim = 8;
  config.ffn_dim = 8;
  return config;
}

std::string save_small(const std::string& dir) {
  CheckpointInfo info;
  info.model = small_config();
  info.attention = "topk:1%";
  info.tokenizer_kind = "bytes";
  info.state.step = 1;
  std::vector<float> weights(static_cast<size_t>(parameter_count(info.model)), 0.5F);
  return save_checkpoint(dir, info, view(weights.data(), {static_cast<int64_t>(weights.size())}),
                         {}, {});
}

}  // namespace

void read_safetensors(std::string_view bytes) {
  const std::string path = put("input.safetensors", bytes);
  const SafetensorsFile file(path);
  uint64_t sum = 0;
  for (const auto& [name, entry] : file.entries()) {
    for (const std::byte b : entry.bytes) sum += static_cast<uint64_t>(b);  // every byte is mapped
  }
  uint64_t expected = 0;
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  for (const char c : bytes.substr(sizeof(length) + length)) expected += static_cast<uint8_t>(c);
  PIVOT_CHECK(sum == expected, "tensors do not cover the data");
}

std::vector<std::string> safetensors_seeds() {
  std::vector<float> f = {1, 2, 3, 4};
  std::vector<uint8_t> u = {7, 8, 9};
  const std::string path = scratch() / "seed.safetensors";
  write_safetensors(path, {{"a", view(f.data(), {2, 2})}, {"b", view(u.data(), {3})}},
                    {{"key", "value"}});
  std::vector<std::string> seeds = {read_file(path)};
  write_safetensors(path, {}, {});
  seeds.push_back(read_file(path));
  return seeds;
}

void read_manifest_file(std::string_view bytes) {
  static const std::string dir = save_small(scratch() / "manifest");
  overwrite(dir + "/" + kManifestName, bytes);
  const std::vector<ManifestFile> files = pivot::read_manifest(dir);
  for (const ManifestFile& file : files) verify_file(dir, files, file.name);
}

std::vector<std::string> manifest_seeds() {
  const std::string path = save_small(scratch() / "seed");
  return {read_file(path + "/" + kManifestName)};
}

// The manifest is made to agree, so that HDF5 and the checks after it see the bytes at all.
void read_model_file(std::string_view bytes) {
  static const std::string dir = save_small(scratch() / "model");
  static const std::string manifest = read_file(dir + "/" + kManifestName);
  static const ManifestFile original = pivot::read_manifest(dir).front();
  overwrite(dir + "/model.h5", bytes);
  std::string agreed = manifest;
  const std::string size = std::to_string(original.size);
  agreed.replace(agreed.find(original.hash), original.hash.size(), hash_hex(bytes));
  agreed.replace(agreed.find(size), size.size(), std::to_string(bytes.size()));
  overwrite(dir + "/" + kManifestName, agreed);
  const CheckpointInfo info = read_checkpoint_info(dir);
  constexpr int64_t kMost = 1 << 16;  // a hostile config may ask for any number of parameters
  if (parameter_count(info.model) > kMost) return;
  std::vector<float> weights(static_cast<size_t>(parameter_count(info.model)));
  read_checkpoint_tensors(dir, info.model,
                          view(weights.data(), {static_cast<int64_t>(weights.size())}), {}, {});
}

std::vector<std::string> model_seeds() {
  const std::string path = save_small(scratch() / "seed");
  return {read_file(path + "/model.h5")};
}

void read_shard(std::string_view bytes) {
  const Shard shard(put("input.h5", bytes));
  shard.verify();
  for (int64_t i = 0; i < std::min<int64_t>(shard.documents(), 8); ++i) {
    const std::vector<int32_t> tokens = shard.document(i);
    for (const int32_t token : tokens) {
      PIVOT_CHECK(token >= 0 && token < shard.info().vocab, "token {} came through", token);
    }
  }
}

std::vector<std::string> shard_seeds() {
  const auto tokenizer = make_tokenizer("bytes", "");
  ShardInfo info;
  info.tokenizer_kind = tokenizer->kind();
  info.tokenizer_hash = tokenizer->hash();
  info.vocab = tokenizer->vocab();
  const std::string dir = scratch() / "shards";
  fs::remove_all(dir);
  ShardWriter writer(dir, info, token_byte_table(*tokenizer), 64);
  const std::vector<int32_t> tokens = {72, 105, 33};
  const std::vector<TokenSpan> learnt = {{1, 3}};
  writer.add(tokens, 3, ShardWriter::Mask::Spans, learnt);
  writer.add(tokens, 3, ShardWriter::Mask::Spans, learnt);
  writer.finish();
  return {read_file(writer.files().front())};
}

}  // namespace pivot::fuzz
