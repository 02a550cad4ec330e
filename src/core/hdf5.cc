#include "src/core/hdf5.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <mutex>
#include <utility>

#include <hdf5.h>
#include <sys/stat.h>

#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot::hdf5 {
namespace {

constexpr int64_t kMaxAttributeBytes = 60000;  // object header messages end at 64 KiB

/// The library's state is process-wide, so its lock is too.
std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

/// Held during every call; also keeps the library from printing errors we turn into exceptions.
class LibraryLock {
 public:
  LibraryLock() : lock_(library_mutex()) { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

/// An identifier of any kind, released by the count the library keeps.
class Id {
 public:
  explicit Id(hid_t id) : id_(id) {}
  ~Id() {
    if (id_ >= 0) H5Idec_ref(id_);
  }
  Id(const Id&) = delete;
  Id& operator=(const Id&) = delete;
  bool valid() const { return id_ >= 0; }
  operator hid_t() const { return id_; }
  hid_t release() { return std::exchange(id_, -1); }

 private:
  hid_t id_;
};

hid_t file_type(Type type) {
  switch (type) {
    case Type::F32:
      return H5T_IEEE_F32LE;
    case Type::F64:
      return H5T_IEEE_F64LE;
    case Type::U8:
      return H5T_STD_U8LE;
    case Type::U16:
      return H5T_STD_U16LE;
    case Type::I32:
      return H5T_STD_I32LE;
    case Type::I64:
      return H5T_STD_I64LE;
  }
  PIVOT_CHECK(false, "unknown type");
}

hid_t memory_type(Type type) {
  switch (type) {
    case Type::F32:
      return H5T_NATIVE_FLOAT;
    case Type::F64:
      return H5T_NATIVE_DOUBLE;
    case Type::U8:
      return H5T_NATIVE_UINT8;
    case Type::U16:
      return H5T_NATIVE_UINT16;
    case Type::I32:
      return H5T_NATIVE_INT32;
    case Type::I64:
      return H5T_NATIVE_INT64;
  }
  PIVOT_CHECK(false, "unknown type");
}

herr_t keep_innermost(unsigned, const H5E_error2_t* error, void* text) {
  *static_cast<std::string*>(text) = error->desc != nullptr ? error->desc : "";
  return 0;
}

/// What the library says went wrong, innermost cause.
std::string cause() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_innermost, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "unknown HDF5 error" : text;
}

}  // namespace

int64_t size_of(Type type) {
  switch (type) {
    case Type::F32:
      return 4;
    case Type::F64:
      return 8;
    case Type::U8:
      return 1;
    case Type::U16:
      return 2;
    case Type::I32:
      return 4;
    case Type::I64:
      return 8;
  }
  PIVOT_CHECK(false, "unknown type");
}

const char* name_of(Type type) {
  switch (type) {
    case Type::F32:
      return "float32";
    case Type::F64:
      return "float64";
    case Type::U8:
      return "uint8";
    case Type::U16:
      return "uint16";
    case Type::I32:
      return "int32";
    case Type::I64:
      return "int64";
  }
  PIVOT_CHECK(false, "unknown type");
}

struct FileState {
  std::string path;
  hid_t id = -1;
  bool writing = false;
  int64_t bytes = 0;  // size on disk when opened for reading

  ~FileState() {
    const LibraryLock lock;
    if (id >= 0) H5Fclose(id);
  }

  /// Damage in a file that is read is the user's to repair; failure to write is the environment's.
  [[noreturn]] void fail(const std::string& object, const std::string& what) const {
    if (writing) throw_error("{}: {}: {}", path, object, what);
    throw_user("{}: {}: {} (damaged or foreign file: build or copy it again)", path, object, what);
  }

  Id open_object(const std::string& object) const {
    Id opened(H5Oopen(id, object.c_str(), H5P_DEFAULT));
    if (!opened.valid()) fail(object, "no such object: " + cause());
    return Id(opened.release());
  }
};

namespace {

/// Attribute `name` with its type, its number of values checked to be one.
struct OpenAttribute {
  OpenAttribute(const FileState& file, const std::string& object, const std::string& name)
      : where(object + "@" + name),
        owner(file.open_object(object)),
        id(H5Aexists(owner, name.c_str()) > 0 ? H5Aopen(owner, name.c_str(), H5P_DEFAULT) : -1),
        type(id.valid() ? H5Aget_type(id) : -1) {
    if (!id.valid() || !type.valid()) file.fail(where, "attribute missing");
    const Id space(H5Aget_space(id));
    if (H5Sget_simple_extent_npoints(space) != 1) file.fail(where, "attribute is not one value");
  }
  std::string where;
  Id owner, id, type;
};

void write_attribute(FileState& file, const std::string& object, const std::string& name,
                     hid_t stored, hid_t memory, const void* value) {
  const Id owner = file.open_object(object);
  if (H5Aexists(owner, name.c_str()) > 0) H5Adelete(owner, name.c_str());
  const Id space(H5Screate(H5S_SCALAR));
  const Id attribute(H5Acreate2(owner, name.c_str(), stored, space, H5P_DEFAULT, H5P_DEFAULT));
  if (!attribute.valid() || H5Awrite(attribute, memory, value) < 0) {
    file.fail(object + "@" + name, "cannot write attribute: " + cause());
  }
}

Type stored_type(const FileState& file, const std::string& path, hid_t type) {
  for (const Type known : {Type::F32, Type::F64, Type::U8, Type::U16, Type::I32, Type::I64}) {
    if (H5Tequal(type, file_type(known)) > 0) return known;
  }
  file.fail(path, "element type is none of float32, float64, uint8, uint16, int32, int64");
}

/// Refuses what could make a small file cost much memory or read other files.
void check_storage(const FileState& file, const std::string& path, hid_t dataset, int64_t bytes) {
  const Id creation(H5Dget_create_plist(dataset));
  const H5D_layout_t layout = H5Pget_layout(creation);
  if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED && layout != H5D_COMPACT) {
    file.fail(path, "virtual datasets are not read");
  }
  if (H5Pget_nfilters(creation) != 0) file.fail(path, "compressed datasets are not read");
  if (H5Pget_external_count(creation) != 0) file.fail(path, "external datasets are not read");
  if (bytes == 0) return;
  const int64_t stored = static_cast<int64_t>(H5Dget_storage_size(dataset));
  if (stored < bytes || bytes > file.bytes) {
    file.fail(path, fmt::format("declares {} bytes, the file has {} and stores {} of them", bytes,
                                file.bytes, stored));
  }
  hsize_t chunk = 0;
  if (layout == H5D_CHUNKED &&
      (H5Pget_chunk(creation, 1, &chunk) != 1 || chunk > static_cast<hsize_t>(file.bytes))) {
    file.fail(path, "chunks larger than the file");
  }
}

}  // namespace

Dataset::Dataset(std::shared_ptr<FileState> file, std::string path, int64_t id)
    : file_(std::move(file)), path_(std::move(path)), id_(id) {
  const LibraryLock lock;
  Id guard(id);  // releases the dataset if a check below throws
  const Id type(H5Dget_type(id));
  const Id space(H5Dget_space(id));
  if (!type.valid() || !space.valid()) file_->fail(path_, cause());
  type_ = stored_type(*file_, path_, type);
  hsize_t extent = 0;
  if (H5Sget_simple_extent_ndims(space) != 1 ||
      H5Sget_simple_extent_dims(space, &extent, nullptr) != 1) {
    file_->fail(path_, "not one-dimensional");
  }
  if (extent > static_cast<hsize_t>(std::numeric_limits<int64_t>::max() / 8)) {
    file_->fail(path_, "declares more elements than can exist");
  }
  size_ = static_cast<int64_t>(extent);
  if (!file_->writing) check_storage(*file_, path_, id, size_ * size_of(type_));
  guard.release();
}

Dataset::~Dataset() {
  close();
}

Dataset::Dataset(Dataset&& other) noexcept
    : file_(std::move(other.file_)),
      path_(std::move(other.path_)),
      id_(std::exchange(other.id_, -1)),
      type_(other.type_),
      size_(other.size_) {}

Dataset& Dataset::operator=(Dataset&& other) noexcept {
  if (this == &other) return *this;
  close();
  file_ = std::move(other.file_);
  path_ = std::move(other.path_);
  id_ = std::exchange(other.id_, -1);
  type_ = other.type_;
  size_ = other.size_;
  return *this;
}

void Dataset::close() noexcept {
  if (id_ < 0) return;
  const LibraryLock lock;
  H5Dclose(id_);
  id_ = -1;
}

void Dataset::require_type(Type type) const {
  if (type_ == type) return;
  file_->fail(path_, fmt::format("holds {}, {} is needed", name_of(type_), name_of(type)));
}

int64_t Dataset::file_offset() const {
  const LibraryLock lock;
  const haddr_t offset = H5Dget_offset(id_);
  if (offset == HADDR_UNDEF) file_->fail(path_, "not stored in one piece");
  const int64_t begin = static_cast<int64_t>(offset);
  if (begin < 0 || begin > file_->bytes - size_ * size_of(type_)) {
    file_->fail(path_, "reaches beyond the end of the file");
  }
  return begin;
}

void Dataset::read_raw(Type memory, int64_t offset, int64_t count, void* out) const {
  if (offset < 0 || count < 0 || count > size_ || offset > size_ - count) {
    file_->fail(path_, fmt::format("elements [{}, {}) asked for, it has {}", offset, offset + count,
                                   size_));
  }
  if (count == 0) return;
  const LibraryLock lock;
  const hsize_t start = static_cast<hsize_t>(offset);
  const hsize_t extent = static_cast<hsize_t>(count);
  const Id space(H5Dget_space(id_));
  const Id target(H5Screate_simple(1, &extent, nullptr));
  if (H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, nullptr, &extent, nullptr) < 0 ||
      H5Dread(id_, memory_type(memory), target, space, H5P_DEFAULT, out) < 0) {
    file_->fail(path_, "cannot read: " + cause());
  }
}

void Dataset::write_raw(Type memory, int64_t offset, int64_t count, const void* in) {
  PIVOT_CHECK(offset >= 0 && count >= 0 && offset + count <= size_,
              "{}: elements [{}, {}) written, it has {}", path_, offset, offset + count, size_);
  if (count == 0) return;
  const LibraryLock lock;
  const hsize_t start = static_cast<hsize_t>(offset);
  const hsize_t extent = static_cast<hsize_t>(count);
  const Id space(H5Dget_space(id_));
  const Id source(H5Screate_simple(1, &extent, nullptr));
  if (H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, nullptr, &extent, nullptr) < 0 ||
      H5Dwrite(id_, memory_type(memory), source, space, H5P_DEFAULT, in) < 0) {
    file_->fail(path_, "cannot write: " + cause());
  }
}

void Dataset::grow(int64_t count) {
  const LibraryLock lock;
  const hsize_t extent = static_cast<hsize_t>(size_ + count);
  if (H5Dset_extent(id_, &extent) < 0) file_->fail(path_, "cannot grow: " + cause());
  size_ += count;
}

namespace {

// Superblocks of version 2 and 3 belong to the file format with checksums in its metadata. Older
// ones are never written here, and damage to them can crash the library.
void require_checksums(const std::string& path) {
  constexpr std::string_view kSignature("\x89HDF\r\n\x1a\n", 8);
  char head[9] = {};
  std::ifstream(path, std::ios::binary).read(head, sizeof(head));
  if (std::string_view(head, kSignature.size()) != kSignature) {
    throw_user("{} is not an HDF5 file", path);
  }
  if (head[8] != 2 && head[8] != 3) {
    throw_user("{}: HDF5 file of an old format, which Pivot does not write", path);
  }
}

}  // namespace

File File::create(const std::string& path) {
  const LibraryLock lock;
  auto state = std::make_shared<FileState>();
  state->path = path;
  state->writing = true;
  // From 1.8 on every piece of metadata carries a checksum; before, none does.
  const Id access(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
  state->id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  if (state->id < 0) throw_error("cannot create {}: {}", path, cause());
  return File(std::move(state));
}

File File::open(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) {
    throw_user("cannot read {}: {}", path, std::strerror(errno));
  }
  if (S_ISDIR(info.st_mode)) throw_user("{} is a directory, a file is needed", path);
  require_checksums(path);
  const LibraryLock lock;
  auto state = std::make_shared<FileState>();
  state->path = path;
  state->bytes = static_cast<int64_t>(info.st_size);
  state->id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  if (state->id < 0) {
    throw_user("{} ({} bytes) is not a complete HDF5 file: {}; build or copy it again", path,
               state->bytes, cause());
  }
  return File(std::move(state));
}

void File::close() {
  const LibraryLock lock;
  PIVOT_CHECK(state_.use_count() == 1, "{}: datasets are still open", state_->path);
  const hid_t id = std::exchange(state_->id, -1);
  if (H5Fflush(id, H5F_SCOPE_GLOBAL) < 0) {
    const std::string why = cause();
    H5Fclose(id);
    throw_error("cannot write {}: {}", state_->path, why);
  }
  if (H5Fclose(id) < 0) throw_error("cannot write {}: {}", state_->path, cause());
}

const std::string& File::path() const {
  return state_->path;
}

void File::create_group(const std::string& group) {
  if (exists(group)) return;
  const LibraryLock lock;
  const Id links(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(links, 1);
  const Id created(H5Gcreate2(state_->id, group.c_str(), links, H5P_DEFAULT, H5P_DEFAULT));
  if (!created.valid()) state_->fail(group, "cannot create group: " + cause());
}

bool File::exists(const std::string& object) const {
  const LibraryLock lock;
  // H5Lexists fails unless every parent exists, so the path is walked.
  for (size_t end = object.find('/', 1); end != std::string::npos;
       end = object.find('/', end + 1)) {
    if (H5Lexists(state_->id, object.substr(0, end).c_str(), H5P_DEFAULT) <= 0) return false;
  }
  return object == "/" || H5Lexists(state_->id, object.c_str(), H5P_DEFAULT) > 0;
}

std::vector<std::string> File::list(const std::string& group) const {
  const LibraryLock lock;
  const Id opened(H5Gopen2(state_->id, group.c_str(), H5P_DEFAULT));
  if (!opened.valid()) state_->fail(group, "no such group: " + cause());
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->push_back(name);
    return 0;
  };
  if (H5Literate(opened, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, collect, &names) < 0) {
    state_->fail(group, "cannot list: " + cause());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void File::set_attribute(const std::string& object, const std::string& name,
                         std::string_view value) {
  PIVOT_CHECK(static_cast<int64_t>(value.size()) <= kMaxAttributeBytes,
              "attribute {} of {} bytes: use write_text()", name, value.size());
  const LibraryLock lock;
  const std::string text(value);
  const Id type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type, std::max<size_t>(1, text.size()));
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  write_attribute(*state_, object, name, type, type, text.c_str());
}

void File::set_attribute(const std::string& object, const std::string& name, int64_t value) {
  const LibraryLock lock;
  write_attribute(*state_, object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void File::set_attribute(const std::string& object, const std::string& name, double value) {
  const LibraryLock lock;
  write_attribute(*state_, object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

bool File::has_attribute(const std::string& object, const std::string& name) const {
  const LibraryLock lock;
  const Id owner = state_->open_object(object);
  return H5Aexists(owner, name.c_str()) > 0;
}

std::string File::string_attribute(const std::string& object, const std::string& name) const {
  const LibraryLock lock;
  const OpenAttribute attribute(*state_, object, name);
  const int64_t bytes = static_cast<int64_t>(H5Tget_size(attribute.type));
  if (H5Tget_class(attribute.type) != H5T_STRING || H5Tis_variable_str(attribute.type) != 0 ||
      bytes > kMaxAttributeBytes) {
    state_->fail(attribute.where, "not text of fixed length");
  }
  std::string text(static_cast<size_t>(bytes), '\0');
  if (H5Aread(attribute.id, attribute.type, text.data()) < 0) {
    state_->fail(attribute.where, "cannot read: " + cause());
  }
  while (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

int64_t File::int64_attribute(const std::string& object, const std::string& name) const {
  const LibraryLock lock;
  const OpenAttribute attribute(*state_, object, name);
  int64_t value = 0;
  if (H5Tequal(attribute.type, H5T_STD_I64LE) <= 0 ||
      H5Aread(attribute.id, H5T_NATIVE_INT64, &value) < 0) {
    state_->fail(attribute.where, "not an int64");
  }
  return value;
}

double File::double_attribute(const std::string& object, const std::string& name) const {
  const LibraryLock lock;
  const OpenAttribute attribute(*state_, object, name);
  double value = 0;
  if (H5Tequal(attribute.type, H5T_IEEE_F64LE) <= 0 ||
      H5Aread(attribute.id, H5T_NATIVE_DOUBLE, &value) < 0) {
    state_->fail(attribute.where, "not a float64");
  }
  return value;
}

Dataset File::create_dataset(const std::string& path, Type type, int64_t size, int64_t chunk) {
  const LibraryLock lock;
  const hsize_t extent = static_cast<hsize_t>(size);
  const hsize_t limit = chunk > 0 ? H5S_UNLIMITED : extent;
  const Id space(H5Screate_simple(1, &extent, &limit));
  const Id links(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(links, 1);
  const Id creation(H5Pcreate(H5P_DATASET_CREATE));
  H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);  // every element is written by us
  H5Pset_obj_track_times(creation, 0);              // equal content gives equal files
  if (chunk > 0) {
    const hsize_t length = static_cast<hsize_t>(chunk);
    H5Pset_chunk(creation, 1, &length);
  }
  const hid_t id =
      H5Dcreate2(state_->id, path.c_str(), file_type(type), space, links, creation, H5P_DEFAULT);
  if (id < 0) state_->fail(path, "cannot create dataset: " + cause());
  return Dataset(state_, path, id);
}

Dataset File::dataset(const std::string& path) const {
  const LibraryLock lock;
  if (!exists(path)) state_->fail(path, "dataset missing");
  const hid_t id = H5Dopen2(state_->id, path.c_str(), H5P_DEFAULT);
  if (id < 0) state_->fail(path, "cannot open dataset: " + cause());
  return Dataset(state_, path, id);
}

void File::write_text(const std::string& path, std::string_view text) {
  write_array(path, std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

std::string File::read_text(const std::string& path) const {
  const std::vector<uint8_t> bytes = read_array<uint8_t>(path);
  return std::string(bytes.begin(), bytes.end());
}

}  // namespace pivot::hdf5
