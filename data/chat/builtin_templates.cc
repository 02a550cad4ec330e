// Chat formats by name, for models and tokenizers that bring no template. Each gives the text that
// the named models were trained on (scripts/chat_conformance.py compares); tools are refused.
#include <algorithm>
#include <array>

#include <fmt/ranges.h>

#include "data/chat/template.h"
#include "src/base/check.h"

namespace pivot::chat {
namespace {

// Before every format: what none of them has a text for.
constexpr std::string_view kNoTools =
    R"({%- set refusal = "this built-in format has no tools; use the model's own template" -%}
{%- if tools %}{{ raise_exception(refusal) }}{% endif %}
{%- for m in messages %}
{%- if m.role == 'tool' or m.tool_calls %}{{ raise_exception(refusal) }}{% endif %}
{%- endfor -%}
)";

// `system` (none without) and `turns`, which must be user, assistant, user, ...
constexpr std::string_view kTurns =
    R"({%- set system = messages[0].content if messages[0].role == 'system' else none -%}
{%- set turns = messages if system is none else messages[1:] -%}
{%- for m in turns %}
{%- if m.role != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}
{{ raise_exception('after an optional system message, user and assistant must take turns') }}
{%- endif %}
{%- endfor -%}
)";

constexpr std::string_view kChatMl = R"({%- for m in messages -%}
{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
)";

// ChatML that begins with a system message whatever the conversation has.
constexpr std::string_view kQwen2System = R"({%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}
{%- endif -%}
)";
constexpr std::string_view kQwen25System = R"({%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
{%- endif -%}
)";
constexpr std::string_view kSmolLm2System = R"({%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}
{%- endif -%}
)";

// Reasoning stays only behind the last question, where the last answer always has a block for it.
constexpr std::string_view kQwen3 =
    R"({%- set ns = namespace(last=messages|length - 1, found=false) -%}
{%- for m in messages[::-1] %}
{%- if m.role == 'user' and not ns.found and not (m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}
{%- set ns.found = true %}
{%- set ns.last = loop.revindex0 %}
{%- endif %}
{%- endfor %}
{%- for m in messages %}
{%- set content = m.content %}
{%- set thought = '' %}
{%- if m.role == 'assistant' %}
{%- if m.reasoning_content is string %}
{%- set thought = m.reasoning_content %}
{%- elif '</think>' in content %}
{%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\n') %}
{%- endif %}
{%- endif -%}
{{ '<|im_start|>' ~ m.role ~ '\n' }}
{%- if m.role == 'assistant' and loop.index0 > ns.last and (loop.last or thought) -%}
{{ '<think>\n' ~ thought.strip('\n') ~ '\n</think>\n\n' ~ content.lstrip('\n') }}
{%- else -%}
{{ content }}
{%- endif -%}
{{ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}
{%- endif %}
)";

constexpr std::string_view kLlama2 = R"({%- for m in turns %}
{%- if m.role == 'user' -%}
{%- set opening = '<<SYS>>\n' ~ system ~ '\n<</SYS>>\n\n' if loop.first and system is not none else '' -%}
{{ bos_token ~ '[INST] ' ~ (opening ~ m.content) | trim ~ ' [/INST]' }}
{%- else -%}
{{ ' ' ~ m.content | trim ~ ' ' ~ eos_token }}
{%- endif %}
{%- endfor %}
)";

constexpr std::string_view kLlama3 = R"({{ bos_token }}
{%- for m in messages -%}
{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ m.content | trim ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
)";

// A system message with two dates always opens the conversation.
constexpr std::string_view kLlama31 = R"({%- set has_system = messages[0].role == 'system' -%}
{{ bos_token ~ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' ~ (date_string if date_string is defined else '26 Jul 2024') ~ '\n\n' }}
{%- if has_system %}{{ messages[0].content | trim }}{% endif -%}
{{ '<|eot_id|>' }}
{%- for m in (messages[1:] if has_system else messages) -%}
{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ m.content | trim ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
)";

constexpr std::string_view kMistralV1 = R"({{ bos_token }}
{%- for m in turns %}
{%- if m.role == 'user' -%}
{{ '[INST] ' ~ (system ~ '\n\n' if loop.first and system is not none else '') ~ m.content ~ ' [/INST]' }}
{%- else -%}
{{ ' ' ~ m.content | trim ~ eos_token }}
{%- endif %}
{%- endfor %}
)";

// The system message goes with the last question, as mistral-common does it; the models' Jinja
// templates leave it out when an answer follows.
constexpr std::string_view kMistralV3 = R"({{ bos_token }}
{%- for m in turns %}
{%- if m.role == 'user' -%}
{{ '[INST] ' ~ (system ~ '\n\n' if loop.index0 == (turns|length - 1) // 2 * 2 and system is not none else '') ~ m.content ~ '[/INST]' }}
{%- else -%}
{{ ' ' ~ m.content | trim ~ eos_token }}
{%- endif %}
{%- endfor %}
)";

constexpr std::string_view kMistralTekken = R"({{ bos_token }}
{%- for m in turns %}
{%- if m.role == 'user' -%}
{{ '[INST]' ~ (system ~ '\n\n' if loop.index0 == (turns|length - 1) // 2 * 2 and system is not none else '') ~ m.content ~ '[/INST]' }}
{%- else -%}
{{ m.content ~ eos_token }}
{%- endif %}
{%- endfor %}
)";

constexpr std::string_view kGemmaNoSystem =
    R"({%- if system is not none %}{{ raise_exception('this format has no system message') }}{% endif -%}
)";
constexpr std::string_view kGemma = R"({{ bos_token }}
{%- for m in turns -%}
{{ '<start_of_turn>' ~ ('model' if m.role == 'assistant' else 'user') ~ '\n' }}
{%- if loop.first and system is not none %}{{ system ~ '\n\n' }}{% endif -%}
{{ m.content | trim ~ '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}
)";

constexpr std::string_view kPhi3 = R"({%- for m in messages %}
{%- if m.role != 'system' or m.content -%}
{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ '<|end|>\n' }}
{%- endif %}
{%- endfor -%}
{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}
)";

constexpr std::string_view kPhi4 = R"({%- for m in messages -%}
{{ '<|im_start|>' ~ m.role ~ '<|im_sep|>' ~ m.content ~ '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}
)";

constexpr std::string_view kZephyr = R"({%- for m in messages -%}
{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ eos_token ~ '\n' }}
{%- if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}
{%- endfor %}
)";

// Alpaca's own words, which stand in for a system message; more turns than one follow the same way.
constexpr std::string_view kAlpaca = R"({{ bos_token }}
{%- if system is none -%}
{{ 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' }}
{%- else -%}
{{ system ~ '\n\n' }}
{%- endif %}
{%- for m in turns %}
{%- if m.role == 'user' -%}
{{ '### Instruction:\n' ~ m.content ~ '\n\n' }}
{%- else -%}
{{ '### Response:\n' ~ m.content ~ eos_token ~ '\n\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}
)";

// For base models: names and colons, each answer ended by eos.
constexpr std::string_view kPlain = R"({{ bos_token }}
{%- for m in messages %}
{%- if m.role == 'assistant' -%}
{{ 'Assistant: ' ~ m.content | trim ~ eos_token ~ '\n' }}
{%- elif m.role == 'user' -%}
{{ 'User: ' ~ m.content | trim ~ '\n' }}
{%- else -%}
{{ m.content | trim ~ '\n\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}
)";

struct Builtin {
  std::string_view name;
  std::array<std::string_view, 3> parts;
};

constexpr std::array<Builtin, 20> kBuiltins = {{
    {"alpaca", {kTurns, kAlpaca, ""}},
    {"chatml", {kChatMl, "", ""}},
    {"gemma", {kTurns, kGemmaNoSystem, kGemma}},
    {"gemma3", {kTurns, kGemma, ""}},
    {"llama2", {kTurns, kLlama2, ""}},
    {"llama3", {kLlama3, "", ""}},
    {"llama3.1", {kLlama31, "", ""}},
    {"mistral", {kTurns, kMistralV3, ""}},
    {"mistral-tekken", {kTurns, kMistralTekken, ""}},
    {"mistral-v1", {kTurns, kMistralV1, ""}},
    {"mistral-v3", {kTurns, kMistralV3, ""}},
    {"phi3", {kPhi3, "", ""}},
    {"phi4", {kPhi4, "", ""}},
    {"plain", {kPlain, "", ""}},
    {"qwen2", {kQwen2System, kChatMl, ""}},
    {"qwen2.5", {kQwen25System, kChatMl, ""}},
    {"qwen3", {kQwen3, "", ""}},
    {"smollm2", {kSmolLm2System, kChatMl, ""}},
    {"tinyllama", {kZephyr, "", ""}},
    {"zephyr", {kZephyr, "", ""}},
}};

}  // namespace

std::vector<std::string> builtin_names() {
  std::vector<std::string> names;
  for (const Builtin& b : kBuiltins) names.emplace_back(b.name);
  return names;
}

std::string builtin_source(std::string_view name) {
  const auto found = std::find_if(kBuiltins.begin(), kBuiltins.end(),
                                  [name](const Builtin& b) { return b.name == name; });
  if (found == kBuiltins.end()) {
    throw_user("there is no built-in chat template '{}': one of {}", name,
               fmt::join(builtin_names(), ", "));
  }
  std::string source(kNoTools);
  for (const std::string_view part : found->parts) source += part;
  return source;
}

}  // namespace pivot::chat
