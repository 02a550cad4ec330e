#pragma once
/// The HDF5 C API behind RAII: files, groups, attributes and one-dimensional datasets.
///
/// Every failure is an exception that names the file and the object: UserError when a file that is
/// read is missing, foreign or damaged, Error when writing fails (disk full, permission). HDF5's
/// own error printing is off. Files are treated as hostile: nothing larger than the file itself is
/// ever allocated, and datasets that are compressed, external or virtual are refused. All calls
/// take one process-wide lock, because the library may be built without threads.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pivot::hdf5 {

/// Element types of datasets, stored little-endian.
enum class Type { F32, F64, U8, U16, I32, I64 };

int64_t size_of(Type type);
const char* name_of(Type type);

template <class T>
struct TypeOf;
template <>
struct TypeOf<float> {
  static constexpr Type value = Type::F32;
};
template <>
struct TypeOf<double> {
  static constexpr Type value = Type::F64;
};
template <>
struct TypeOf<uint8_t> {
  static constexpr Type value = Type::U8;
};
template <>
struct TypeOf<uint16_t> {
  static constexpr Type value = Type::U16;
};
template <>
struct TypeOf<int32_t> {
  static constexpr Type value = Type::I32;
};
template <>
struct TypeOf<int64_t> {
  static constexpr Type value = Type::I64;
};

struct FileState;

/// A one-dimensional array in a file. Keeps the file open; cheap to move, not to create.
class Dataset {
 public:
  Dataset(std::shared_ptr<FileState> file, std::string path, int64_t id);
  ~Dataset();
  Dataset(Dataset&& other) noexcept;
  Dataset& operator=(Dataset&& other) noexcept;

  Type type() const { return type_; }
  int64_t size() const { return size_; }

  /// Elements [offset, offset + out.size()). The library converts where T is not the stored type
  /// (values outside T's range saturate). Throws UserError when the range is outside the dataset.
  template <class T>
  void read(int64_t offset, std::span<T> out) const {
    read_raw(TypeOf<T>::value, offset, static_cast<int64_t>(out.size()), out.data());
  }
  /// The whole dataset; refuses a stored type other than T.
  template <class T>
  std::vector<T> read_all() const {
    require_type(TypeOf<T>::value);
    std::vector<T> out(static_cast<size_t>(size_));
    read_raw(type_, 0, size_, out.data());
    return out;
  }
  /// Writes elements [offset, offset + in.size()), which must lie inside the dataset.
  template <class T>
  void write(int64_t offset, std::span<const T> in) {
    write_raw(TypeOf<T>::value, offset, static_cast<int64_t>(in.size()), in.data());
  }
  /// Grows a chunked dataset and writes at its end.
  template <class T>
  void append(std::span<const T> in) {
    grow(static_cast<int64_t>(in.size()));
    write_raw(TypeOf<T>::value, size_ - static_cast<int64_t>(in.size()),
              static_cast<int64_t>(in.size()), in.data());
  }
  /// Byte offset in the file of the elements, for mapping them. Throws UserError unless they lie
  /// there in one piece.
  int64_t file_offset() const;
  /// Throws UserError naming both types.
  void require_type(Type type) const;

  void read_raw(Type memory, int64_t offset, int64_t count, void* out) const;
  void write_raw(Type memory, int64_t offset, int64_t count, const void* in);
  void grow(int64_t count);

 private:
  void close() noexcept;
  std::shared_ptr<FileState> file_;
  std::string path_;
  int64_t id_ = -1;
  Type type_ = Type::U8;
  int64_t size_ = 0;
};

/// An open file. Objects are named by absolute paths ("/model/layers.0.wq").
class File {
 public:
  /// A new file; an old one at `path` is overwritten. Throws Error.
  static File create(const std::string& path);
  /// Read-only. Throws UserError when missing, unreadable, not HDF5 or truncated.
  static File open(const std::string& path);

  /// Closes now and reports what a destructor could not (a full disk). Datasets must be gone.
  void close();

  const std::string& path() const;

  /// Creates the group and its parents; an existing group is kept.
  void create_group(const std::string& group);
  bool exists(const std::string& object) const;
  /// Names of the links in a group, sorted.
  std::vector<std::string> list(const std::string& group) const;

  /// Attributes of a group ("/" is the file itself) or dataset. Values are at most 60000 bytes:
  /// longer text belongs in write_text().
  void set_attribute(const std::string& object, const std::string& name, std::string_view value);
  void set_attribute(const std::string& object, const std::string& name, const char* value) {
    set_attribute(object, name, std::string_view(value));
  }
  void set_attribute(const std::string& object, const std::string& name, int64_t value);
  void set_attribute(const std::string& object, const std::string& name, int value) {
    set_attribute(object, name, int64_t{value});
  }
  void set_attribute(const std::string& object, const std::string& name, double value);
  bool has_attribute(const std::string& object, const std::string& name) const;
  /// Throw UserError when absent or of another type.
  std::string string_attribute(const std::string& object, const std::string& name) const;
  int64_t int64_attribute(const std::string& object, const std::string& name) const;
  double double_attribute(const std::string& object, const std::string& name) const;

  /// A new dataset of `size` elements, contiguous when `chunk` is 0, else chunked (and able to
  /// grow). Parent groups are created.
  Dataset create_dataset(const std::string& path, Type type, int64_t size, int64_t chunk = 0);
  /// Throws UserError when absent, of an unknown type, not one-dimensional or larger than the file.
  Dataset dataset(const std::string& path) const;

  template <class T>
  void write_array(const std::string& path, std::span<const T> values) {
    create_dataset(path, TypeOf<T>::value, static_cast<int64_t>(values.size())).write(0, values);
  }
  template <class T>
  std::vector<T> read_array(const std::string& path) const {
    return dataset(path).read_all<T>();
  }
  /// Text of any length as a dataset of bytes.
  void write_text(const std::string& path, std::string_view text);
  std::string read_text(const std::string& path) const;

 private:
  explicit File(std::shared_ptr<FileState> state) : state_(std::move(state)) {}
  std::shared_ptr<FileState> state_;
};

}  // namespace pivot::hdf5
