#pragma once
/// The HDF5 files of a checkpoint: lists of named F32 tensors.

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"
#include "src/core/hdf5.h"
#include "src/model/params.h"

namespace pivot {

/// At most so many bytes hold `sets` groups of these tensors.
int64_t tensor_file_bytes(const std::vector<ParamInfo>& params, int64_t sets);

/// Takes the blocks before HDF5 writes into them: a full disk then shows here, cleanly, and not in
/// a half-flushed library. File systems that cannot reserve are written to as they are. Throws
/// Error.
void reserve_file(const std::string& path, int64_t bytes);

/// GROUP/<name> of every parameter from a flat (P) F32 host tensor, with its shape.
void write_tensors(hdf5::File& file, const std::string& group, const std::vector<ParamInfo>& params,
                   const Tensor& flat);

/// Fills `flat` from what write_tensors() wrote. Throws UserError naming a tensor that is missing,
/// of another shape, or not of the list.
void read_tensors(const hdf5::File& file, const std::string& group,
                  const std::vector<ParamInfo>& params, const Tensor& flat);

/// DIR/NAME with the manifest's checksum and this build's format. Throws UserError.
hdf5::File open_verified(const std::string& dir, const std::vector<ManifestFile>& files,
                         const std::string& name);

}  // namespace pivot
