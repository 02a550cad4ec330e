#include "data/chat_build.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <filesystem>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "build_info.h"
#include "data/chat_encode.h"
#include "data/dataset.h"
#include "data/statistics.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/options.h"
#include "src/base/philox.h"
#include "src/base/units.h"

namespace pivot {
namespace {

using Json = nlohmann::ordered_json;
using Fate = EncodedChat::Fate;

constexpr int64_t kGroupBytes = 1 << 22;  // conversations are encoded in parallel, this much a time
constexpr size_t kGroupConversations = 4096;
constexpr uint32_t kHeldOutSubstream = 0xFFFFFFFDU;
constexpr int64_t kFormat = 1;  // of what is written: another one is another fingerprint

chat::ReaderOptions reader_options(const ChatDataOptions& o,
                                   const std::vector<std::string>& input) {
  if (input.empty()) throw_user("no conversations: name files of JSON lines");
  return {.input = input, .format = o.format, .skip_bad = o.skip_bad};
}

/// The share of `train` that is held out; nothing where `validation` names files.
std::optional<Rational> held_out_share(const ChatDataOptions& o) {
  if (o.validation.empty()) return Rational{0, 1};
  if (o.validation.size() > 1 || std::filesystem::exists(o.validation.front())) return {};
  try {
    const Rational share = parse_rational(o.validation.front());
    if (share.num >= share.den) throw_user("validation {}: below 100%", o.validation.front());
    return share;
  } catch (const UserError&) {
    const char last = o.validation.front().back();
    if (last == '%') throw;
    return {};  // the reader says what is wrong with it as a file
  }
}

class PartWriter {
 public:
  PartWriter(const std::string& directory, const ShardInfo& info,
             const std::vector<uint16_t>& lengths, int64_t shard_tokens)
      : writer_(directory, info, lengths, shard_tokens) {}

  void add(const EncodedChat& chat) {
    writer_.add(chat.ids, chat.text_bytes, ShardWriter::Mask::Spans, chat.learnt);
    const auto length = static_cast<int64_t>(chat.ids.size());
    const auto bin = static_cast<size_t>(std::bit_width(static_cast<uint64_t>(length))) - 1;
    if (figures_.lengths.size() <= bin) figures_.lengths.resize(bin + 1);
    ++figures_.lengths[bin];
    figures_.learnt += chat.learnt_tokens;
    figures_.longest = std::max(figures_.longest, length);
  }
  int64_t tokens() const { return writer_.tokens(); }
  ChatPart finish() {
    writer_.finish();
    figures_.conversations = writer_.documents();
    figures_.tokens = writer_.tokens();
    figures_.files = writer_.files();
    return figures_;
  }

 private:
  ShardWriter writer_;
  ChatPart figures_;
};

/// Counts what became of a conversation; throws UserError where that is not allowed.
void account(const EncodedChat& chat, const std::string& place, const ChatDataOptions& o,
             int64_t context, ChatCounts& counts) {
  switch (chat.fate) {
    case Fate::Kept:
      return;
    case Fate::Truncated:
      ++counts.truncated;
      return;
    case Fate::NoAssistant:
      ++counts.no_assistant;
      return;
    case Fate::Masked:
      ++counts.masked;
      return;
    case Fate::Longer:
      if (o.longer == "refuse") {
        throw_user("{}: {} tokens, the context is {}: longer=drop or truncate, or a longer context",
                   place, chat.length, context);
      }
      ++counts.longer;
      return;
    case Fate::Refused:
      if (!o.skip_bad) {
        throw_user("{}: {} (skip_bad counts and skips such conversations)", place, chat.refusal);
      }
      ++counts.refused;
      return;
  }
}

/// Reads the next conversations, up to a group's size.
std::vector<chat::Conversation> next_group(chat::ConversationReader& reader) {
  std::vector<chat::Conversation> group;
  size_t bytes = 0;
  chat::Conversation conversation;
  while (bytes < kGroupBytes && group.size() < kGroupConversations && reader.next(conversation)) {
    for (const chat::Message& m : conversation.messages) bytes += m.content.size() + m.extra.size();
    group.push_back(std::move(conversation));
    conversation = {};
  }
  return group;
}

class Builder {
 public:
  Builder(const ChatDataOptions& options, const ChatTarget& target, ThreadPool& pool)
      : options_(options),
        target_(target),
        pool_(pool),
        render_(render_options(options, target.tokenizer)) {}

  /// Every conversation of `reader` goes to the part that `part_of` names for its number.
  template <class PartOf>
  void run(chat::ConversationReader& reader, const char* what, const PartOf& part_of) {
    Progress progress(what);
    int64_t index = 0;
    for (;;) {
      std::vector<chat::Conversation> group = next_group(reader);
      if (group.empty()) break;
      std::vector<EncodedChat> encoded(group.size());
      std::vector<std::string> places;
      for (const chat::Conversation& c : group) places.push_back(place_of(c));
      pool_.for_each(static_cast<int64_t>(group.size()), [&](int64_t item, int) {
        const auto i = static_cast<size_t>(item);
        encoded[i] = encode_chat(std::move(group[i]), options_, target_, render_);
      });
      // In order and by one thread: the files and the first error do not depend on the threads.
      for (size_t i = 0; i < encoded.size(); ++i) {
        account(encoded[i], places[i], options_, target_.context, counts_);
        PartWriter& part = part_of(index++);
        if (!encoded[i].ids.empty()) part.add(encoded[i]);
        tokens_ += static_cast<int64_t>(encoded[i].ids.size());
      }
      progress.update(reader.progress(), fmt::format("{} conversations, {} tokens", index,
                                                     format_si(static_cast<double>(tokens_))));
    }
    counts_.read += reader.counts().conversations;
    counts_.bad += reader.counts().bad;
  }
  const ChatCounts& counts() const { return counts_; }

 private:
  const ChatDataOptions& options_;
  const ChatTarget& target_;
  ThreadPool& pool_;
  chat::RenderOptions render_;
  ChatCounts counts_;
  int64_t tokens_ = 0;
};

std::string why_nothing(const ChatBuildResult& r) {
  const ChatCounts& c = r.counts;
  return fmt::format(
      "{} read, {} without a turn of the assistant, {} without a token to learn, {} longer than "
      "{} tokens, {} refused by the template, {} bad lines",
      c.read, c.no_assistant, c.masked, c.longer, r.context, c.refused, c.bad);
}

void require_parts(const ChatBuildResult& r, const ChatDataOptions& o,
                   std::optional<Rational> share, ChatTarget::FewHeldOut few) {
  if (r.train.conversations + r.validation.conversations == 0) {
    throw_user("nothing is left to learn from: {}", why_nothing(r));
  }
  if (r.train.conversations == 0) throw_user("nothing is left to train on: {}", why_nothing(r));
  if (r.validation.conversations > 0 || (share && share->num == 0)) return;
  if (!share) throw_user("nothing is left of the validation files: {}", why_nothing(r));
  if (few == ChatTarget::FewHeldOut::Warn) {
    log::warning("{} conversations are too few to hold out {}: there is no validation",
                 r.train.conversations, o.validation.front());
    return;
  }
  throw_user(
      "{} conversations are too few to hold out {}: choose another share, name files of their own, "
      "or validation=0%",
      r.train.conversations, o.validation.front());
}

Json file_list(const std::vector<std::string>& files) {
  Json list = Json::array();
  for (const std::string& path : files) {
    std::error_code error;
    list.push_back({{"path", path}, {"bytes", std::filesystem::file_size(path, error)}});
  }
  return list;
}

Json option_list(ChatDataOptions options) {
  Json json = Json::object();
  for (const OptionField& field : option_fields(options)) json[field.key] = field.print();
  return json;
}

ShardInfo chat_shard_info(const ChatDataOptions& o, const ChatTarget& t,
                          const std::vector<std::string>& files) {
  ShardInfo info = shard_info(t.tokenizer);
  info.keep_whole = true;
  Json parameters = option_list(o);
  parameters["context"] = t.context;
  parameters["template_hash"] = hash_hex(t.chat_template.source());
  info.parameters = parameters.dump();
  info.provenance =
      Json{{"pivot", kVersion}, {"git", kGitHash}, {"files", file_list(files)}}.dump();
  return info;
}

}  // namespace

bool is_held_out(int64_t index, Rational share) {
  if (share.num == 0) return false;
  const auto begin_of = [&](int64_t k) { return (k * share.den + share.num - 1) / share.num; };
  const int64_t k = index * share.num / share.den;
  const Philox random(0, Stream::DataOrder, kHeldOutSubstream);
  const int64_t begin = begin_of(k), end = begin_of(k + 1);
  return index == begin + static_cast<int64_t>(random.below(static_cast<uint64_t>(end - begin),
                                                            static_cast<uint64_t>(k)));
}

ChatBuildResult build_chat(const ChatDataOptions& o, const ChatTarget& target, ThreadPool& pool) {
  const auto start = std::chrono::steady_clock::now();
  check_chat_options(o);
  const std::optional<Rational> share = held_out_share(o);
  chat::ConversationReader train_reader(reader_options(o, o.train));
  std::optional<chat::ConversationReader> validation_reader;
  if (!share) validation_reader.emplace(reader_options(o, o.validation));
  const std::string fingerprint = chat_fingerprint(o, target);
  DatasetDirectory directory(target.out, target.overwrite ? DatasetDirectory::Existing::Replace
                                                          : DatasetDirectory::Existing::Refuse);
  const std::vector<uint16_t> lengths = token_byte_table(target.tokenizer);
  PartWriter train(directory.train(), chat_shard_info(o, target, train_reader.files()), lengths,
                   target.shard_tokens);
  PartWriter validation(
      directory.validation(),
      chat_shard_info(o, target, share ? train_reader.files() : validation_reader->files()),
      lengths, target.shard_tokens);

  Builder builder(o, target, pool);
  builder.run(train_reader, "tokenising", [&](int64_t index) -> PartWriter& {
    return share && is_held_out(index, *share) ? validation : train;
  });
  if (!share) {
    builder.run(*validation_reader, "tokenising validation",
                [&](int64_t) -> PartWriter& { return validation; });
  }

  ChatBuildResult result;
  result.train = train.finish();
  result.validation = validation.finish();
  result.counts = builder.counts();
  result.tokenizer_hash = target.tokenizer.hash();
  result.template_hash = hash_hex(target.chat_template.source());
  result.context = target.context;
  result.longer = o.longer;
  require_parts(result, o, share, target.few_held_out);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Json json = Json::parse(to_json(result));
  json["fingerprint"] = fingerprint;
  directory.add_file(kChatFile, json.dump(2) + "\n");
  directory.publish(target.tokenizer);
  return result;
}

std::string chat_fingerprint(const ChatDataOptions& o, const ChatTarget& target) {
  const std::optional<Rational> share = held_out_share(o);
  const auto contents = [&](const std::vector<std::string>& input) {
    Json list = Json::array();
    const chat::ConversationReader reader(reader_options(o, input));
    for (const std::string& path : reader.files()) list.push_back(hash_file_hex(path));
    return list;
  };
  Json options = option_list(o);
  // What the files are called is not what they say.
  options.erase("train");
  options["validation"] = share ? Json(to_string(*share)) : contents(o.validation);
  options["template"] = target.chat_template.source();
  const Json all = {{"format", kFormat},
                    {"train", contents(o.train)},
                    {"options", options},
                    {"tokenizer", target.tokenizer.hash()},
                    {"context", target.context}};
  return hash_hex(all.dump());
}

std::string read_chat_fingerprint(const std::string& directory) {
  const std::string path = directory + "/" + kChatFile;
  if (!std::filesystem::exists(path)) return "";
  const Json json = Json::parse(read_file(path), nullptr, false);
  return json.is_object() ? json.value("fingerprint", "") : "";
}

chat::Conversation first_conversation(const ChatDataOptions& o, const ChatTarget& target) {
  check_chat_options(o);
  const chat::RenderOptions render = render_options(o, target.tokenizer);
  chat::ConversationReader reader(reader_options(o, o.train));
  ChatBuildResult seen;
  seen.context = target.context;
  chat::Conversation conversation;
  while (reader.next(conversation)) {
    if (o.learn == "last") learn_last(conversation);
    const EncodedChat chat = encode_chat(conversation, o, target, render);
    if (chat.fate == Fate::Kept || chat.fate == Fate::Truncated) return conversation;
    account(chat, place_of(conversation), o, target.context, seen.counts);
    conversation = {};
  }
  seen.counts.read = reader.counts().conversations;
  seen.counts.bad = reader.counts().bad;
  throw_user("{}: nothing is left to learn from: {}", o.train.front(), why_nothing(seen));
}

}  // namespace pivot
