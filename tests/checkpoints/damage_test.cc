// What the disk, a copy or a person can do to a checkpoint: refused by name, never read.

#include <filesystem>
#include <fstream>

#include "checkpoints/manifest.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/philox.h"
#include "src/core/hdf5.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kFiles = {"model.h5", "state.json", "config.toml", "tokenizer.model",
                                         "optimizer.h5"};

void flip_bit(const std::string& path, uint64_t bit) {
  std::string bytes = read_file(path);
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  std::ofstream(path, std::ios::binary) << bytes;
}

TEST_CASE("a flipped bit, a cut or a missing file is named") {
  const QuietLog quiet;
  const TempDir dir;
  const std::string older = TinyCheckpoint(1).save(dir.path());
  const std::string path = TinyCheckpoint(2).save(dir.path());
  for (const std::string& name : kFiles) {
    CAPTURE(name);
    const std::string file = path + "/" + name;
    const std::string original = read_file(file);
    const Philox random(3, Stream::Test);
    for (uint64_t i = 0; i < 8; ++i) {
      flip_bit(file, random.below(8 * original.size(), i));
      CHECK_THROWS_AS(load(path), UserError);
      CHECK_THROWS_WITH(load(path), ContainsSubstring(name) && ContainsSubstring("damaged"));
      CHECK(find_checkpoint(dir.path()) == older);
      std::ofstream(file, std::ios::binary) << original;
    }
    fs::resize_file(file, original.size() - 1);
    CHECK_THROWS_WITH(load(path), ContainsSubstring(name) && ContainsSubstring("truncated"));
    CHECK(find_checkpoint(dir.path()) == older);
    fs::remove(file);
    CHECK_THROWS_WITH(load(path), ContainsSubstring(name) && ContainsSubstring("missing"));
    CHECK(find_checkpoint(dir.path()) == older);
    std::ofstream(file, std::ios::binary) << original;
    CHECK(find_checkpoint(dir.path()) == path);
  }
}

TEST_CASE("a flipped bit of the manifest is refused or harmless") {
  const TempDir dir;
  const std::string path = TinyCheckpoint(2).save(dir.path());
  const std::string file = path + "/" + kManifestName;
  const std::string original = read_file(file);
  for (uint64_t bit = 0; bit < 8 * original.size(); bit += 37) {
    flip_bit(file, bit);
    CAPTURE(bit, read_file(file));
    std::string error;
    std::vector<float> weights;
    try {
      weights = load(path).weights;
    } catch (const UserError& e) {
      error = e.what();
    }
    CAPTURE(error);
    CHECK((error.find(path) != std::string::npos || weights == TinyCheckpoint(2).weights));
    std::ofstream(file, std::ios::binary) << original;
  }
}

TEST_CASE("a manifest from elsewhere") {
  const TempDir dir;
  const std::string path = TinyCheckpoint(2).save(dir.path());
  const std::string file = path + "/" + kManifestName;
  const auto refused = [&](const std::string& text, const std::string& why) {
    CAPTURE(text);
    std::ofstream(file) << text;
    CHECK_THROWS_AS(read_manifest(path), UserError);
    CHECK_THROWS_WITH(read_manifest(path), ContainsSubstring(why));
  };
  refused("", "damaged");
  refused("[]", "damaged");
  refused(R"({"format": "other", "version": 1, "files": []})", "not the manifest of a Pivot");
  refused(R"({"format": "pivot-checkpoint", "version": 9, "files": []})", "version 9");
  refused(R"({"format": "pivot-checkpoint", "version": 1,
              "files": [{"name": "../x", "size": 1, "xxh3": ""}]})",
          "not a file name");
  refused(R"({"format": "pivot-checkpoint", "version": 1, "files": [7]})", "damaged");
  refused(std::string(2 << 20, ' '), "too long");
}

TEST_CASE("a file of another checkpoint with a manifest that agrees") {
  const TempDir dir;
  const std::string path = TinyCheckpoint(2).save(dir.path());
  const auto adopt = [&](const std::string& name, const std::string& from) {
    fs::copy_file(from, path + "/" + name, fs::copy_options::overwrite_existing);
    write_manifest(path, kFiles);
  };
  SECTION("optimizer of another step") {
    adopt("optimizer.h5", TinyCheckpoint(3).save(dir.path()) + "/optimizer.h5");
    CHECK_THROWS_WITH(load(path), ContainsSubstring("different steps"));
  }
  SECTION("model of another step") {
    adopt("model.h5", TinyCheckpoint(3).save(dir.path()) + "/model.h5");
    CHECK_THROWS_WITH(load(path), ContainsSubstring("mixed"));
  }
  SECTION("another tokenizer") {
    std::ofstream(dir / "other") << "another";
    adopt("tokenizer.model", dir / "other");
    CHECK_THROWS_WITH(load(path), ContainsSubstring("not the tokenizer this model was trained"));
  }
  SECTION("a shard") {
    hdf5::File other = hdf5::File::create(dir / "other.h5");
    other.write_array("/tokens", std::span<const int32_t>(std::vector<int32_t>{1, 2, 3}));
    other.close();
    adopt("model.h5", dir / "other.h5");
    CHECK_THROWS_WITH(load(path), ContainsSubstring("not of a Pivot checkpoint"));
  }
  SECTION("text") {
    std::ofstream(dir / "other") << "not HDF5 at all, but long enough to be asked";
    adopt("model.h5", dir / "other");
    CHECK_THROWS_AS(load(path), UserError);
  }
}

TEST_CASE("another configuration is refused by the tensor") {
  const TempDir dir;
  const std::string path = TinyCheckpoint(2).save(dir.path());
  const auto refused = [&](const ModelConfig& config, const std::string& tensor) {
    std::vector<float> weights(static_cast<size_t>(parameter_count(config)));
    CHECK_THROWS_AS(read_checkpoint_tensors(path, config, TinyCheckpoint::flat(weights), {}, {}),
                    UserError);
    CHECK_THROWS_WITH(read_checkpoint_tensors(path, config, TinyCheckpoint::flat(weights), {}, {}),
                      ContainsSubstring(tensor) && ContainsSubstring("model.h5"));
  };
  ModelConfig config = tiny_config();
  config.ffn_dim = 32;
  refused(config, "layers.0.gate_up.weight");
  config = tiny_config();
  config.layers = 1;
  refused(config, "layers.1.");
  config = tiny_config();
  config.layers = 3;
  refused(config, "layers.2.");
  config = tiny_config();
  config.tied_embeddings = true;
  refused(config, "head.weight");
  config = tiny_config();
  std::swap(config.dim, config.vocab);  // same number of values in the embedding
  refused(config, "embed.weight");
}

}  // namespace
}  // namespace pivot::test
