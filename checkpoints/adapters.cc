#include "checkpoints/adapters.h"

#include "checkpoints/layout.h"
#include "checkpoints/manifest.h"
#include "checkpoints/tensor_file.h"
#include "src/base/check.h"
#include "src/base/options.h"
#include "src/core/hdf5.h"

namespace pivot {
namespace {

LoraConfig read_config(const hdf5::File& file) {
  LoraConfig lora;
  lora.rank = file.int64_attribute("/meta", "rank");
  lora.alpha = file.double_attribute("/meta", "alpha");
  parse_option(file.string_attribute("/meta", "targets"), lora.targets);
  if (!lora.on()) throw_user("{}: adapters of rank {}", file.path(), lora.rank);
  validate(lora);
  return lora;
}

}  // namespace

bool has_adapters(const std::string& checkpoint) {
  return has_file(read_manifest(checkpoint), layout::kAdapterFile);
}

AdapterInfo read_adapter_info(const std::string& checkpoint) {
  const std::vector<ManifestFile> files = read_manifest(checkpoint);
  if (!has_file(files, layout::kAdapterFile)) {
    throw_user("{} has no {}: it was not trained with lora.rank", checkpoint, layout::kAdapterFile);
  }
  const hdf5::File file = open_verified(checkpoint, files, layout::kAdapterFile);
  return {read_config(file), file.string_attribute("/meta", "base"),
          file.string_attribute("/meta", "base_fingerprint")};
}

void read_adapter_tensors(const std::string& checkpoint, const ModelConfig& config,
                          const AdapterTensors& out) {
  const hdf5::File file =
      open_verified(checkpoint, read_manifest(checkpoint), layout::kAdapterFile);
  const std::vector<ParamInfo> params = list_adapters(config, read_config(file));
  const Shape flat = {params.back().offset + params.back().shape.count()};
  expect(out.weights, DType::F32, flat, "adapters");
  read_tensors(file, "/params", params, out.weights);
  if (!out.m.present()) return;
  expect(out.m, DType::F32, flat, "m");
  expect(out.v, DType::F32, flat, "v");
  read_tensors(file, "/m", params, out.m);
  read_tensors(file, "/v", params, out.v);
}

CheckpointFile adapter_file(const ModelConfig& config, const AdapterInfo& info,
                            const AdapterTensors& tensors, int64_t step) {
  const std::vector<ParamInfo> params = list_adapters(config, info.lora);
  const int64_t sets = tensors.m.present() ? 3 : 1;
  const auto write = [=](const std::string& path) {
    hdf5::File file = hdf5::File::create(path);
    reserve_file(path, tensor_file_bytes(params, sets));
    file.create_group("/meta");
    file.set_attribute("/meta", "format", layout::kFormat);
    file.set_attribute("/meta", "version", layout::kVersion);
    file.set_attribute("/meta", "step", step);
    file.set_attribute("/meta", "rank", info.lora.rank);
    file.set_attribute("/meta", "alpha", info.lora.effective_alpha());
    file.set_attribute("/meta", "targets", print_option(info.lora.targets));
    file.set_attribute("/meta", "base", info.base);
    file.set_attribute("/meta", "base_fingerprint", info.base_fingerprint);
    write_tensors(file, "/params", params, tensors.weights);
    if (tensors.m.present()) {
      write_tensors(file, "/m", params, tensors.m);
      write_tensors(file, "/v", params, tensors.v);
    }
    file.close();
  };
  return {layout::kAdapterFile, tensor_file_bytes(params, sets), write};
}

}  // namespace pivot
