#include "data/hf/post_processor.h"

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot::hf {
namespace {

int32_t id_of(const nlohmann::json& value, const Fields& fields, int64_t vocab) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= static_cast<uint64_t>(vocab)) {
    throw_user("{}: ids must be numbers from 0 to {}", fields.where(), vocab - 1);
  }
  return value.get<int32_t>();
}

/// Adds the ids of the special token called `name` in the template's own list.
void add_special(const Fields& fields, const std::string& name, int64_t vocab,
                 std::vector<int32_t>& ids) {
  const Fields token = fields.object("special_tokens").object(name.c_str());
  const nlohmann::json& list = token.get("ids");
  if (!list.is_array()) throw_user("{}: 'ids' must be a list", token.where());
  for (const nlohmann::json& id : list) ids.push_back(id_of(id, token, vocab));
}

Surroundings read_template(const Fields& fields, int64_t vocab) {
  Surroundings made;
  int texts = 0;
  for (const Fields& piece : fields.objects("single")) {
    if (piece.has("Sequence")) {
      ++texts;
      if (piece.object("Sequence").text("id") != "A") {
        throw_user("{}: 'single' must use sequence A", fields.where());
      }
    } else {
      add_special(fields, piece.object("SpecialToken").text("id"), vocab,
                  texts == 0 ? made.before : made.after);
    }
  }
  if (texts != 1) throw_user("{}: 'single' must hold the text once", fields.where());
  return made;
}

/// ["</s>", 2]
std::vector<int32_t> read_pair(const Fields& fields, const char* key, int64_t vocab) {
  const nlohmann::json& pair = fields.get(key);
  if (!pair.is_array() || pair.size() != 2) {
    throw_user("{}: '{}' must be [\"token\", id]", fields.where(), key);
  }
  return {id_of(pair[1], fields, vocab)};
}

void add(const Fields& fields, int64_t vocab, std::optional<Surroundings>& made) {
  const std::string type = fields.text("type");
  std::optional<Surroundings> own;
  if (type == "Sequence") {
    for (const Fields& inner : fields.objects("processors")) add(inner, vocab, made);
    return;
  }
  if (type == "ByteLevel") return;  // changes offsets only
  if (type == "TemplateProcessing") {
    own = read_template(fields, vocab);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    own = Surroundings{read_pair(fields, "cls", vocab), read_pair(fields, "sep", vocab)};
  } else {
    throw_user("{}: type '{}' is not supported", fields.where(), type);
  }
  // A later step wraps what the earlier ones made.
  if (!made) made.emplace();
  made->before.insert(made->before.begin(), own->before.begin(), own->before.end());
  made->after.insert(made->after.end(), own->after.begin(), own->after.end());
}

}  // namespace

std::optional<Surroundings> read_surroundings(const Fields& file, int64_t vocab) {
  std::optional<Surroundings> made;
  if (file.has("post_processor")) add(file.object("post_processor"), vocab, made);
  return made;
}

}  // namespace pivot::hf
