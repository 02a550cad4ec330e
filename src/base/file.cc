#include "src/base/file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "src/base/check.h"
#include "src/base/units.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::string reason() {
  return std::strerror(errno);
}

int open_for_reading(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw_user("cannot read {}: {}", path, reason());
  return fd;
}

size_t regular_size(int fd, const std::string& path) {
  struct stat info = {};
  if (::fstat(fd, &info) != 0) throw_error("cannot stat {}: {}", path, reason());
  if (S_ISDIR(info.st_mode)) throw_user("{} is a directory, a file is needed", path);
  return static_cast<size_t>(info.st_size);
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const Descriptor fd(open_for_reading(path));
  size_ = regular_size(fd.get(), path);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) throw_error("cannot map {}: {}", path, reason());
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

void MappedFile::release(std::span<const std::byte> part) const {
  if (part.empty()) return;
  // Linux maps the neighbours of a page that is touched as well: 64 KiB, or a whole folio of up to
  // 2 MiB (6.18). Unless all that may have come along goes too, 5 % of a file stays mapped
  // (measured with two threads). Whoever needs a page of it next has it again.
  constexpr uintptr_t kWindow = uintptr_t{2} << 20;
  const auto map = reinterpret_cast<uintptr_t>(data_);
  const uintptr_t first = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t begin = std::max(first / kWindow * kWindow, map);
  const uintptr_t end =
      std::min((first + part.size() + kWindow - 1) / kWindow * kWindow, map + size_);
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // may be ignored
}

std::string read_file(const std::string& path) {
  const Descriptor fd(open_for_reading(path));
  std::string bytes;
  bytes.reserve(regular_size(fd.get(), path));
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof(buffer));
    if (got == 0) return bytes;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_error("cannot read {}: {}", path, reason());
    bytes.append(buffer, static_cast<size_t>(got));
  }
}

void write_file_atomically(const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".tmp";
  Descriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd.get() < 0) throw_error("cannot write {}: {}", temporary, reason());
  const auto fail = [&] {
    const std::string why = reason();
    ::unlink(temporary.c_str());
    throw_error("cannot write {}: {}", path, why);
  };
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail();
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  if (::fsync(fd.get()) != 0 || ::close(fd.release()) != 0) fail();
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail();
  const fs::path parent = fs::path(path).parent_path();
  fsync_path(parent.empty() ? "." : parent.string());
}

void fsync_path(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0 || ::fsync(fd.get()) != 0) throw_error("cannot flush {}: {}", path, reason());
}

int64_t free_disk_bytes(const std::string& path) {
  fs::path probe = fs::absolute(path);
  std::error_code error;
  while (!fs::exists(probe, error) && probe.has_relative_path()) probe = probe.parent_path();
  const fs::space_info info = fs::space(probe, error);
  if (error) throw_error("cannot ask for free space at {}: {}", path, error.message());
  return static_cast<int64_t>(info.available);
}

void require_free_disk(const std::string& path, int64_t needed, std::string_view what) {
  const int64_t free = free_disk_bytes(path);
  if (free >= needed) return;
  throw_error("{} needs {} at {}, only {} are free: free some space or choose another --output",
              what, format_bytes(static_cast<double>(needed)), path,
              format_bytes(static_cast<double>(free)));
}

std::string hash_hex(std::string_view bytes) {
  return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}

std::string hash_file_hex(const std::string& path) {
  const Descriptor fd(open_for_reading(path));
  regular_size(fd.get(), path);
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              &XXH3_freeState);
  XXH3_64bits_reset(state.get());
  // Read and not mapped: a checkpoint may be larger than memory, and maps count as such.
  constexpr size_t kBuffer = size_t{1} << 20;
  const auto buffer = std::make_unique<char[]>(kBuffer);
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.get(), kBuffer);
    if (got == 0) return fmt::format("{:016x}", XXH3_64bits_digest(state.get()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_error("cannot read {}: {}", path, reason());
    XXH3_64bits_update(state.get(), buffer.get(), static_cast<size_t>(got));
  }
}

std::string tokenizer_hash(std::string_view kind, std::string_view bytes) {
  return hash_hex(fmt::format("{}\n{}", kind, bytes));
}

}  // namespace pivot
