#pragma once
/// The directory of a data set: train/, validation/ and a copy of the tokenizer in each.

#include <cstdint>
#include <string>
#include <string_view>

#include "data/shard.h"
#include "data/tokenizer.h"

namespace pivot {

/// Figures and identity of a set of conversations (chat_build.h).
inline constexpr char kChatFile[] = "chat.json";

/// Files are written to `out`.partial, which takes the place of `out` when all is complete and is
/// removed when it is not.
class DatasetDirectory {
 public:
  enum class Existing { Refuse, Replace };
  /// Throws UserError when `out` holds files and may not, or must not, be replaced: only data sets
  /// are.
  DatasetDirectory(std::string out, Existing existing);
  ~DatasetDirectory();
  DatasetDirectory(const DatasetDirectory&) = delete;
  DatasetDirectory& operator=(const DatasetDirectory&) = delete;

  std::string train() const { return staging_ + "/train"; }
  std::string validation() const { return staging_ + "/validation"; }
  /// Another file of the set, beside train/.
  void add_file(const std::string& name, std::string_view bytes);
  /// Copies the tokenizer beside every part that was written and puts the set in place.
  void publish(const Tokenizer& tokenizer);

 private:
  std::string out_;
  std::string staging_;
};

/// Vocabulary and identity of `tokenizer`; the rest is left to the caller.
ShardInfo shard_info(const Tokenizer& tokenizer);

/// A line on standard error about how far a long command is: a status line on a terminal, else a
/// log line every ten seconds.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `share` of the work done, 0 to 1. Throws Error once Ctrl-C was pressed.
  void update(double share, std::string_view detail);

 private:
  std::string what_;
  double start_;
  double shown_;
};

}  // namespace pivot
