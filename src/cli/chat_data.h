#pragma once
/// The conversations of a fine-tuning run as shards in its directory.

#include <string>

#include "data/chat_build.h"
#include "data/chat_probe.h"
#include "train/options.h"

namespace pivot {

/// Puts the shards of chat.train and chat.validation into OUTPUT/data, unless they are there
/// already and nothing has changed, and points data.train and data.validation at them. `target.out`
/// is ignored. Throws UserError when the conversations have changed under a run that would go on.
void prepare_chat_data(TrainOptions& options, ChatTarget target, ThreadPool& pool);

/// Shows the probe conversation, says what was checked, and keeps it in the run: probe.txt and
/// probe.json.
void show_probe(const ChatProbe& probe, const std::string& output);

}  // namespace pivot
