#pragma once
/// The HDF5 files of a checkpoint: lists of named tensors, F32 or BF16.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"
#include "src/base/file.h"
#include "src/core/hdf5.h"
#include "src/model/params.h"

namespace pivot {

/// F32 or BF16 for each parameter.
using StoredType = std::function<DType(const ParamInfo& param)>;
/// Rows [begin, end) of the outermost dimension of a parameter, as F32.
using ReadRows =
    std::function<void(const ParamInfo& param, int64_t begin, int64_t end, float* out)>;

/// At most so many bytes hold `sets` groups of these tensors in F32, or one as `type` says.
int64_t tensor_file_bytes(const std::vector<ParamInfo>& params, int64_t sets);
int64_t tensor_file_bytes(const std::vector<ParamInfo>& params, const StoredType& type);

/// Takes the blocks before HDF5 writes into them: a full disk then shows here, cleanly, and not in
/// a half-flushed library. File systems that cannot reserve are written to as they are. Throws
/// Error.
void reserve_file(const std::string& path, int64_t bytes);

/// GROUP/<name> of every parameter with its shape, a few MB at a time. Values for BF16 are rounded
/// to nearest, ties to even. `wrote` (may be empty) hears of every piece how many values it had.
void write_tensors(hdf5::File& file, const std::string& group, const std::vector<ParamInfo>& params,
                   const ReadRows& read, const StoredType& type,
                   const std::function<void(int64_t values)>& wrote);
/// The same of a flat (P) F32 host tensor, as F32.
void write_tensors(hdf5::File& file, const std::string& group, const std::vector<ParamInfo>& params,
                   const Tensor& flat);

/// What write_tensors() wrote, mapped.
class MappedTensors {
 public:
  /// Throws UserError naming a tensor that is missing, of another shape or type, or not of
  /// `params`.
  MappedTensors(const hdf5::File& file, const std::string& group,
                const std::vector<ParamInfo>& params);

  DType type(const ParamInfo& param) const { return find(param).type; }
  /// As ModelSource::read.
  void read(const ParamInfo& param, int64_t begin, int64_t end, float* out) const;

 private:
  struct Place {
    int64_t offset;  // bytes into the file
    DType type;
  };
  const Place& find(const ParamInfo& param) const;

  std::map<std::string, Place> places_;
  MappedFile map_;
};

/// Fills a flat (P) F32 host tensor from such a group. Throws as MappedTensors.
void read_tensors(const hdf5::File& file, const std::string& group,
                  const std::vector<ParamInfo>& params, const Tensor& flat);

/// DIR/NAME with the manifest's checksum and this build's format. Throws UserError.
hdf5::File open_verified(const std::string& dir, const std::vector<ManifestFile>& files,
                         const std::string& name);

}  // namespace pivot
