#include "checkpoints/tensor_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
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

}  // namespace

int64_t tensor_file_bytes(const std::vector<ParamInfo>& params, int64_t sets) {
  int64_t bytes = kBytesPerFile;
  for (const ParamInfo& p : params) bytes += sets * (p.shape.count() * 4 + kBytesPerTensor);
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
                   const Tensor& flat) {
  const float* values = flat.as<float>();
  for (const ParamInfo& p : params) {
    const std::string path = group + "/" + p.name;
    const auto count = static_cast<size_t>(p.shape.count());
    file.write_array(path, std::span<const float>(values + p.offset, count));
    file.set_attribute(path, "shape", to_string(p.shape));
  }
}

void read_tensors(const hdf5::File& file, const std::string& group,
                  const std::vector<ParamInfo>& params, const Tensor& flat) {
  std::vector<std::string> expected;
  for (const ParamInfo& p : params) expected.push_back(p.name);
  for (const std::string& name : file.list(group)) {
    if (std::find(expected.begin(), expected.end(), name) == expected.end()) {
      throw_user(
          "{}: {}/{} is no parameter of this model: the checkpoint belongs to another "
          "configuration",
          file.path(), group, name);
    }
  }
  float* values = flat.as<float>();
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
    dataset.require_type(hdf5::Type::F32);
    const auto count = static_cast<size_t>(p.shape.count());
    dataset.read(0, std::span<float>(values + p.offset, count));
  }
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
