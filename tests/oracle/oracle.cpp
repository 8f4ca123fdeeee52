// Prints what llama.cpp allocates for a model.
//
//     oracle MODEL.gguf < settings > answers
//
// One JSON object of settings per line comes in; the same object goes out with `buffers`, or with
// `error` and `detail`. The names of the settings are those of `ask.py`. llama.cpp plans its
// memory without allocating weights (`no_alloc`), so a file that is only a header will do.
//
// llama.cpp aborts the process on what it did not expect. Every model is therefore loaded in a
// child, and every context is created in a child of that one.

#include "common.h"
#include "ggml-backend.h"
#include "llama-context.h"
#include "llama-ext.h"
#include "llama.h"

#include <nlohmann/json.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <list>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using json = nlohmann::ordered_json;

namespace {

constexpr unsigned SECONDS_PER_CONTEXT = 120;
constexpr size_t   KEPT_LOG_BYTES      = 2000;

// What decides how a model is loaded; lines in a row that agree on it share one loading.
constexpr std::array MODEL_SETTINGS = {
    "n_gpu_layers", "n_cpu_moe", "cpu_moe",   "n_cpu_ffn", "overrides", "split_mode",
    "tensor_split", "main_gpu",  "load_mode", "load_mtp",  "no_host",   "target",
    "spec_type",    "draft",
};

// Settings that ask for what does not exist.
struct Mistake : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

std::string       log_tail;
std::vector<json> unanswered;  // the lines that a failure would answer

void keep_log(ggml_log_level level, const char * text, void *) {
    static const bool is_verbose = getenv("GGUFCTL_ORACLE_VERBOSE") != nullptr;
    if (is_verbose) {
        std::cerr << text;
    }
    if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN) {
        log_tail += text;
        log_tail.erase(0, log_tail.size() - std::min(log_tail.size(), KEPT_LOG_BYTES));
    }
}

// Children share the output and must not share a buffer.
void emit(const json & answer) {
    const std::string line = answer.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    for (size_t done = 0; done < line.size();) {
        const ssize_t n = write(STDOUT_FILENO, line.data() + done, line.size() - done);
        if (n <= 0) {
            _exit(EXIT_FAILURE);
        }
        done += size_t(n);
    }
}

void emit_failures(const std::string & why) {
    for (json answer : unanswered) {
        answer["error"]  = "llama.cpp itself failed on this setting";
        answer["detail"] = why;
        emit(answer);
    }
}

// Answers all with something that is no word of llama.cpp's.
[[noreturn]] void blame(const char * key, const std::string & what) {
    for (json & line : unanswered) {
        line[key] = what;
    }
    emit_failures(what);
    _exit(EXIT_SUCCESS);
}

[[noreturn]] void give_up(const std::string & why) {
    emit_failures(why + "\n" + log_tail);
    _exit(EXIT_SUCCESS);
}

// Runs something in a child that answers `lines`, whatever happens to it.
template <typename Function>
void in_child(const std::vector<json> & lines, unsigned seconds, Function function) {
    const std::vector<json> outer = std::exchange(unanswered, lines);
    const pid_t             child = fork();
    if (child == 0) {
        alarm(seconds);
        try {
            function();
        } catch (const Mistake & e) {
            blame("mistake", e.what());
        } catch (const json::exception & e) {
            blame("mistake", e.what());
        } catch (const std::exception & e) {
            give_up(e.what());
        }
        _exit(EXIT_SUCCESS);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) {
        const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        emit_failures("the process ended with signal " + std::to_string(signal));
    }
    unanswered = outer;
}

template <typename Value> using Names = std::vector<std::pair<std::string, Value>>;

template <typename Value>
Value by_name(const Names<Value> & names, const json & line, const char * key, Value otherwise) {
    if (!line.contains(key)) {
        return otherwise;
    }
    for (const auto & [name, value] : names) {
        if (line[key] == name) {
            return value;
        }
    }
    throw Mistake(std::string(key) + " cannot be " + line[key].dump());
}

const Names<llama_split_mode> SPLIT_MODES = {
    {"none", LLAMA_SPLIT_MODE_NONE},
    {"layer", LLAMA_SPLIT_MODE_LAYER},
    {"row", LLAMA_SPLIT_MODE_ROW},
    {"tensor", LLAMA_SPLIT_MODE_TENSOR},
};

const Names<llama_flash_attn_type> FLASH_ATTENTION = {
    {"auto", LLAMA_FLASH_ATTN_TYPE_AUTO},
    {"on", LLAMA_FLASH_ATTN_TYPE_ENABLED},
    {"off", LLAMA_FLASH_ATTN_TYPE_DISABLED},
};

const Names<llama_context_type> CONTEXT_TYPES = {
    {"default", LLAMA_CONTEXT_TYPE_DEFAULT},
    {"mtp", LLAMA_CONTEXT_TYPE_MTP},
};

Names<ggml_type> tensor_types() {
    Names<ggml_type> found;
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        if (const char * name = ggml_type_name(ggml_type(i))) {
            found.emplace_back(name, ggml_type(i));
        }
    }
    return found;
}

ggml_backend_buffer_type_t buffer_type(const std::string & name) {
    std::vector<ggml_backend_buffer_type_t> known = {ggml_backend_cpu_buffer_type()};
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        known.push_back(ggml_backend_dev_buffer_type(device));
        known.push_back(ggml_backend_dev_host_buffer_type(device));
    }
    for (ggml_backend_buffer_type_t type : known) {
        if (type && name == ggml_backend_buft_name(type)) {
            return type;
        }
    }
    throw Mistake("no buffer type is called " + name);
}

const Names<bool> SPECULATION = {
    {"none", false},
    {"draft-mtp", true},
};

bool speculates(const json & line) {
    return by_name(SPECULATION, line, "spec_type", false);
}

// llama.cpp's parameters point to text and arrays that must outlive them.
class ModelSettings {
  public:
    explicit ModelSettings(const json & line) {
        params.no_alloc     = true;
        params.load_mode    = LLAMA_LOAD_MODE_NONE;
        params.n_gpu_layers = line.value("n_gpu_layers", -1);
        params.split_mode   = by_name(SPLIT_MODES, line, "split_mode", LLAMA_SPLIT_MODE_LAYER);
        params.main_gpu     = line.value("main_gpu", 0);
        params.load_mtp     = line.value("load_mtp", false) || speculates(line);
        params.no_host      = line.value("no_host", false);
        split_tensors(line.value("tensor_split", std::string("-")));
        for (const std::string & entry : line.value("overrides", std::vector<std::string>())) {
            const size_t equals = entry.rfind('=');
            place(entry.substr(0, equals), buffer_type(entry.substr(equals + 1)));
        }
        keep_on_cpu(line);
    }

    llama_model * load(const std::string & path) {
        if (!overrides.empty()) {
            overrides.push_back({nullptr, nullptr});
            params.tensor_buft_overrides = overrides.data();
        }
        return llama_model_load_from_file(path.c_str(), params);
    }

  private:
    void split_tensors(const std::string & text) {
        if (text == "-") {
            return;
        }
        std::istringstream parts(text);
        std::string        part;
        for (size_t i = 0; std::getline(parts, part, ',') && i < tensor_split.size(); i++) {
            tensor_split[i] = std::stof(part);
        }
        params.tensor_split = tensor_split.data();
    }

    void place(const std::string & pattern, ggml_backend_buffer_type_t type) {
        patterns.push_back(pattern);
        overrides.push_back({patterns.back().c_str(), type});
    }

    // As common/arg.cpp does for --cpu-moe, --n-cpu-moe and --n-cpu-ffn.
    void keep_on_cpu(const json & line) {
        const auto first_blocks = [&](const char * setting, const char * tensors) {
            for (int i = 0; i < line.value(setting, 0); i++) {
                place("blk\\." + std::to_string(i) + tensors, ggml_backend_cpu_buffer_type());
            }
        };
        if (line.value("cpu_moe", false)) {
            place(LLM_FFN_EXPS_REGEX, ggml_backend_cpu_buffer_type());
        }
        first_blocks("n_cpu_moe", LLM_FFN_EXPS_REGEX);
        first_blocks("n_cpu_ffn", LLM_FFN_DENSE_REGEX);
    }

    llama_model_params                             params       = llama_model_default_params();
    std::array<float, 128>                         tensor_split = {};
    std::list<std::string>                         patterns;
    std::vector<llama_model_tensor_buft_override> overrides;
};

llama_context_params context_params(const json & line) {
    static const Names<ggml_type> types = tensor_types();

    llama_context_params params  = llama_context_default_params();
    params.n_ctx                 = line.value("n_ctx", 0);
    params.n_batch               = line.value("n_batch", 2048);
    params.n_ubatch              = line.value("n_ubatch", 512);
    params.n_seq_max             = line.value("n_parallel", 1);
    params.n_rs_seq              = line.value("n_rs_seq", 0);
    params.n_outputs_max         = line.value("n_outputs", 0);
    params.n_outputs_max_per_seq = line.value("n_outputs_per_seq", 0);
    params.embeddings            = line.value("embeddings", false);
    params.swa_full              = line.value("swa_full", false);
    params.kv_unified            = line.value("kv_unified", false);
    params.offload_kqv           = !line.value("no_kv_offload", false);
    params.op_offload            = !line.value("no_op_offload", false);
    params.type_k                = by_name(types, line, "cache_type_k", GGML_TYPE_F16);
    params.type_v                = by_name(types, line, "cache_type_v", GGML_TYPE_F16);
    params.pooling_type =
        static_cast<enum llama_pooling_type>(line.value("pooling_type", -1));
    params.flash_attn_type =
        by_name(FLASH_ATTENTION, line, "flash_attn", LLAMA_FLASH_ATTN_TYPE_AUTO);
    return params;
}

llama_context * create_context(llama_model * model, const llama_context_params & params) {
    llama_context * context = llama_init_from_model(model, params);
    if (!context) {
        give_up("no context");
    }
    return context;
}

// The context that a draft reads from: the target's, or this model's own main one under MTP.
llama_context * other_context(llama_model * model, const json & line) {
    if (line.contains("target")) {
        json settings         = line;
        settings["n_cpu_moe"] = 0;
        model                 = ModelSettings(settings).load(line["target"].get<std::string>());
        if (!model) {
            give_up("the target cannot be loaded");
        }
    } else if (line.value("ctx_type", "default") != "mtp" || !line.value("ctx_other", true)) {
        return nullptr;
    }
    return create_context(model, context_params(line));
}

// The settings that a draft's model is loaded with, as common_base_params_to_speculative has them.
json draft_model_settings(json line) {
    for (const char * key : {"n_gpu_layers", "n_cpu_moe", "cpu_moe", "n_cpu_ffn", "overrides"}) {
        line.erase(key);
    }
    return line;
}

// The context beside the model's own that llama-server drafts with.
llama_context * draft_context(llama_model * model, llama_context * target, const json & line) {
    static const Names<ggml_type> types = tensor_types();

    if (line.contains("draft")) {
        model = ModelSettings(draft_model_settings(line)).load(line["draft"].get<std::string>());
        if (!model) {
            give_up("the draft cannot be loaded");
        }
    }
    llama_context_params params  = context_params(line);
    params.n_ctx                 = llama_n_ctx(target);
    params.n_rs_seq              = 0;
    params.n_outputs_max         = params.n_seq_max;
    params.n_outputs_max_per_seq = 1;
    params.embeddings            = false;
    params.pooling_type          = LLAMA_POOLING_TYPE_UNSPECIFIED;
    params.type_k    = by_name(types, line, "spec_draft_type_k", GGML_TYPE_F16);
    params.type_v    = by_name(types, line, "spec_draft_type_v", GGML_TYPE_F16);
    params.ctx_type  = LLAMA_CONTEXT_TYPE_MTP;
    params.ctx_other = target;
    return create_context(model, params);
}

// Makes two contexts what they are once llama-server drafts: common_speculative_impl_draft_mtp
// switches hidden states on, and sampling on the device, before the first batch.
void put_in_use(llama_context * target, llama_context * draft) {
    llama_set_embeddings_nextn(target, true, false);
    llama_set_embeddings_nextn(draft, true, true);
    for (uint32_t i = 0; i < llama_n_seq_max(draft); i++) {
        llama_sampler * chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
        llama_sampler_chain_add(chain, llama_sampler_init_top_k(10));
        llama_set_sampler(draft, llama_seq_id(i), chain);
    }
    for (llama_context * context : {target, draft}) {
        // Changes nothing, and has all graphs reserved again.
        llama_set_embeddings_layer_inp(context, 0, false);
        context->sched_reserve();
    }
}

json breakdown(const llama_context * context) {
    const auto rank = [](const std::string & name) {
        return name == "CUDA_Host" ? 0 : name.rfind("CUDA", 0) == 0 ? 1 : name == "CPU" ? 3 : 2;
    };
    std::map<std::pair<int, std::string>, json> sorted;
    for (const auto & [type, bytes] : llama_get_memory_breakdown(context)) {
        const std::string name     = ggml_backend_buft_name(type);
        sorted[{rank(name), name}] = {
            {"model", bytes.model},
            {"context", bytes.context},
            {"compute", bytes.compute},
        };
    }
    json buffers = json::object();
    for (const auto & [key, bytes] : sorted) {
        buffers[key.second] = bytes;
    }
    return buffers;
}

void answer_speculating(llama_model * model, json line) {
    const int n_max              = line.value("spec_draft_n_max", 3);
    const int n_seqs             = line.value("n_parallel", 1);
    llama_context_params params  = context_params(line);
    params.n_rs_seq              = n_max;
    params.n_outputs_max         = std::min<int>(params.n_batch, n_seqs * (1 + n_max));
    params.n_outputs_max_per_seq = std::min<int>(params.n_batch, 1 + n_max);
    llama_context * context      = create_context(model, params);
    llama_context * draft        = draft_context(model, context, line);
    line["n_ctx_total"]          = llama_n_ctx(context);
    line["n_ctx_seq"]            = llama_n_ctx_seq(context);
    line["buffers"]              = breakdown(context);
    line["buffers_draft"]        = breakdown(draft);
    put_in_use(context, draft);
    line["buffers_in_use"]       = breakdown(context);
    line["buffers_draft_in_use"] = breakdown(draft);
    emit(line);
}

void answer(llama_model * model, json line) {
    if (speculates(line)) {
        return answer_speculating(model, std::move(line));
    }
    llama_context_params params = context_params(line);
    params.ctx_other            = other_context(model, line);
    params.ctx_type  = by_name(CONTEXT_TYPES, line, "ctx_type", LLAMA_CONTEXT_TYPE_DEFAULT);
    if (params.ctx_type == LLAMA_CONTEXT_TYPE_MTP) {
        params.n_rs_seq      = 0;
        params.n_outputs_max = line.value("n_outputs_mtp", params.n_outputs_max);
    }
    const llama_context * context = create_context(model, params);
    line["n_ctx_total"]           = llama_n_ctx(context);
    line["n_ctx_seq"]             = llama_n_ctx_seq(context);
    line["buffers"]               = breakdown(context);
    if (params.ctx_other) {
        line["buffers_main"] = breakdown(params.ctx_other);
    }
    emit(line);
}

void answer_all(const std::string & path, const std::vector<json> & lines) {
    llama_model * model = ModelSettings(lines.front()).load(path);
    if (!model) {
        give_up("the model cannot be loaded");
    }
    for (const json & line : lines) {
        in_child({line}, SECONDS_PER_CONTEXT, [&] { answer(model, line); });
    }
}

std::string model_settings(const json & line) {
    json found = json::object();
    for (const char * key : MODEL_SETTINGS) {
        if (line.contains(key)) {
            found[key] = line[key];
        }
    }
    return found.dump();
}

std::vector<std::vector<json>> read_groups(std::istream & input) {
    std::vector<std::vector<json>> groups;
    for (std::string text; std::getline(input, text);) {
        json line = json::parse(text);
        if (groups.empty() || model_settings(groups.back().front()) != model_settings(line)) {
            groups.emplace_back();
        }
        groups.back().push_back(std::move(line));
    }
    return groups;
}

}  // namespace

// Where the oracle has no code: a file of ggml-cuda was left out that planning does need.
extern "C" [[noreturn]] void trapped(const char * name) {
    blame("missing", name);
}

int main(int argc, char ** argv) {
    if (argc != 2) {
        std::cerr << "usage: oracle MODEL.gguf < settings\n";
        return EXIT_FAILURE;
    }
    setenv("GGML_NO_BACKTRACE", "1", 1);
    llama_log_set(keep_log, nullptr);
    ggml_set_abort_callback([](const char * message) { give_up(message); });
    llama_backend_init();
    for (const std::vector<json> & lines : read_groups(std::cin)) {
        in_child(lines, 0, [&] { answer_all(argv[1], lines); });
    }
    // Destructors of the backend expect a GPU.
    _exit(EXIT_SUCCESS);
}
