#include "checkpoints/tensor_file.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <set>
#include <span>

#include <fcntl.h>
#include <unistd.h>

#include "checkpoints/layout.h"
#include "src/base/check.h"

namespace pivot {
namespace {

constexpr int64_t kBytesPerTensor =
    4096;  // HDF5's object header, attribute and link of one dataset
constexpr int64_t kBytesPerFile = 1 << 16;
// Values written at once, 4 MiB of F32: far above what a call costs, far below what a model takes.
constexpr int64_t kPiece = int64_t{1} << 20;

// Marks a dataset of uint16 as BF16, which HDF5 has no name for.
constexpr char kTypeAttribute[] = "type";
constexpr char kBfloat16[] = "bfloat16";

static_assert(std::endian::native == std::endian::little, "maps of files are little-endian");

void check_format(const hdf5::File& file) {
  if (!file.exists("/meta") || !file.has_attribute("/meta", "format") ||
      file.string_attribute("/meta", "format") != layout::kFormat) {
    throw_user("{} is an HDF5 file, but not of a Pivot checkpoint", file.path());
  }
  const int64_t version = file.int64_attribute("/meta", "version");
  if (version != layout::kVersion) {
    throw_user("{}: version {} of the checkpoint format, this build reads version {}", file.path(),
               version, layout::kVersion);
  }
}

DType stored_type(const hdf5::File& file, const std::string& path, const hdf5::Dataset& dataset) {
  if (dataset.type() == hdf5::Type::U16 && file.has_attribute(path, kTypeAttribute) &&
      file.string_attribute(path, kTypeAttribute) == kBfloat16) {
    return DType::BF16;
  }
  dataset.require_type(hdf5::Type::F32);
  return DType::F32;
}

void require_no_others(const hdf5::File& file, const std::string& group,
                       const std::vector<ParamInfo>& params) {
  std::set<std::string> expected;
  for (const ParamInfo& p : params) expected.insert(p.name);
  for (const std::string& name : file.list(group)) {
    if (expected.contains(name)) continue;
    throw_user(
        "{}: {}/{} is no parameter of this model: the checkpoint belongs to another configuration",
        file.path(), group, name);
  }
}

}  // namespace

int64_t tensor_file_bytes(const std::vector<ParamInfo>& params, int64_t sets) {
  int64_t bytes = kBytesPerFile;
  for (const ParamInfo& p : params) bytes += sets * (p.shape.count() * 4 + kBytesPerTensor);
  return bytes;
}

int64_t tensor_file_bytes(const std::vector<ParamInfo>& params, const StoredType& type) {
  int64_t bytes = kBytesPerFile;
  for (const ParamInfo& p : params) {
    bytes += p.shape.count() * static_cast<int64_t>(dtype_bytes(type(p))) + kBytesPerTensor;
  }
  return bytes;
}

void reserve_file(const std::string& path, int64_t bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) throw_error("cannot open {}: {}", path, std::strerror(errno));
  const int failed = ::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, bytes) == 0 ? 0 : errno;
  ::close(fd);
  if (failed == ENOSPC || failed == EDQUOT || failed == EFBIG) {
    throw_error("cannot write {}: {}", path, std::strerror(failed));
  }
}

void write_tensors(hdf5::File& file, const std::string& group, const std::vector<ParamInfo>& params,
                   const ReadRows& read, const StoredType& type,
                   const std::function<void(int64_t)>& wrote) {
  std::vector<float> values;
  std::vector<uint16_t> rounded;
  for (const ParamInfo& p : params) {
    const std::string path = group + "/" + p.name;
    const bool bf16 = type(p) == DType::BF16;
    const int64_t width = p.shape.count() / p.shape[0];
    hdf5::Dataset dataset =
        file.create_dataset(path, bf16 ? hdf5::Type::U16 : hdf5::Type::F32, p.shape.count());
    for_each_piece({p}, kPiece, [&](const ParamInfo&, int64_t begin, int64_t end) {
      values.resize(static_cast<size_t>((end - begin) * width));
      read(p, begin, end, values.data());
      if (bf16) {
        rounded.resize(values.size());
        std::transform(values.begin(), values.end(), rounded.begin(),
                       [](float x) { return to_bfloat16(x).bits; });
        dataset.write<uint16_t>(begin * width, rounded);
      } else {
        dataset.write<float>(begin * width, values);
      }
      if (wrote) wrote((end - begin) * width);
    });
    file.set_attribute(path, "shape", to_string(p.shape));
    if (bf16) file.set_attribute(path, kTypeAttribute, kBfloat16);
  }
}

void write_tensors(hdf5::File& file, const std::string& group, const std::vector<ParamInfo>& params,
                   const Tensor& flat) {
  const float* from = flat.as<float>();
  const auto read = [&](const ParamInfo& p, int64_t begin, int64_t end, float* out) {
    const int64_t width = p.shape.count() / p.shape[0];
    std::copy(from + p.offset + begin * width, from + p.offset + end * width, out);
  };
  write_tensors(file, group, params, read, [](const ParamInfo&) { return DType::F32; }, {});
}

MappedTensors::MappedTensors(const hdf5::File& file, const std::string& group,
                             const std::vector<ParamInfo>& params)
    : map_(file.path()) {
  require_no_others(file, group, params);
  for (const ParamInfo& p : params) {
    const std::string path = group + "/" + p.name;
    if (!file.exists(path)) {
      throw_user("{}: {} is missing: the checkpoint belongs to another configuration", file.path(),
                 path);
    }
    const std::string shape = file.string_attribute(path, "shape");
    const hdf5::Dataset dataset = file.dataset(path);
    if (shape != to_string(p.shape) || dataset.size() != p.shape.count()) {
      throw_user(
          "{}: {} has shape {} ({} values), the configuration needs {}: use the "
          "configuration the checkpoint was trained with",
          file.path(), path, shape, dataset.size(), to_string(p.shape));
    }
    places_[p.name] = {dataset.file_offset(), stored_type(file, path, dataset)};
  }
}

const MappedTensors::Place& MappedTensors::find(const ParamInfo& param) const {
  const auto found = places_.find(param.name);
  PIVOT_CHECK(found != places_.end(), "parameter '{}' is not one of this model", param.name);
  return found->second;
}

void MappedTensors::read(const ParamInfo& param, int64_t begin, int64_t end, float* out) const {
  PIVOT_CHECK(0 <= begin && begin <= end && end <= param.shape[0], "rows {} to {} of '{}'", begin,
              end, param.name);
  const Place& place = find(param);
  const int64_t width = param.shape.count() / param.shape[0];
  const auto element = static_cast<int64_t>(dtype_bytes(place.type));
  const std::span<const std::byte> bytes =
      map_.bytes().subspan(static_cast<size_t>(place.offset + begin * width * element),
                           static_cast<size_t>((end - begin) * width * element));
  if (place.type == DType::F32) {
    std::memcpy(out, bytes.data(), bytes.size());
  } else {
    for (int64_t i = 0; i < (end - begin) * width; ++i) {
      BFloat16 x;
      std::memcpy(&x, bytes.data() + i * element, sizeof(x));
      out[i] = to_float(x);
    }
  }
  map_.release(bytes);
}

void read_tensors(const hdf5::File& file, const std::string& group,
                  const std::vector<ParamInfo>& params, const Tensor& flat) {
  const MappedTensors tensors(file, group, params);
  float* values = flat.as<float>();
  for_each_piece(params, kPiece, [&](const ParamInfo& p, int64_t begin, int64_t end) {
    tensors.read(p, begin, end, values + p.offset + begin * (p.shape.count() / p.shape[0]));
  });
}

hdf5::File open_verified(const std::string& dir, const std::vector<ManifestFile>& files,
                         const std::string& name) {
  // The checksum comes before HDF5 sees a byte: the library is not proof against damaged files.
  verify_file(dir, files, name);
  hdf5::File file = hdf5::File::open(dir + "/" + name);
  check_format(file);
  return file;
}

}  // namespace pivot
