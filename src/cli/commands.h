#pragma once
/// The commands of `pivot`, one file each.

#include <string>
#include <vector>

namespace pivot {

/// Each takes the arguments after its name and returns the exit code; errors are exceptions.
int run_train(const std::vector<std::string>& args);
int run_sft(const std::vector<std::string>& args);
int run_plan(const std::vector<std::string>& args);
int run_eval(const std::vector<std::string>& args);
int run_sample(const std::vector<std::string>& args);
int run_convert(const std::vector<std::string>& args);
int run_export(const std::vector<std::string>& args);
int run_chat(const std::vector<std::string>& args);
int run_logits(const std::vector<std::string>& args);
int run_gradients(const std::vector<std::string>& args);
int run_data(const std::vector<std::string>& args);
int run_data_render(const std::vector<std::string>& args);
int run_data_chat(const std::vector<std::string>& args);
int run_tokenizer(const std::vector<std::string>& args);
int run_info(const std::vector<std::string>& args);
int run_report(const std::vector<std::string>& args);
int run_study(const std::vector<std::string>& args);
int run_doctor(const std::vector<std::string>& args);
int run_bench(const std::vector<std::string>& args);

}  // namespace pivot
