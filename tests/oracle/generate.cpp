// Writes a small model of every architecture: a header with all its tensors, and nothing in them.
//
//     generate FOLDER [ARCHITECTURE ...]
//
// Metadata comes from llama.cpp's own test of its architectures, which is included below as it
// stands; tensors are those that llama.cpp then asks for. What that test leaves out is added here,
// and two architectures whose tensors only a file can name are written out by hand.

#define main static main_of_the_test
#include "test-llama-archs.cpp"
#undef main

#include "../src/llama-model.h"

#include <sys/wait.h>
#include <unistd.h>

#include <set>

namespace {

constexpr size_t ALIGNMENT = GGUF_DEFAULT_ALIGNMENT;

struct Tensor {
    std::string          name;
    std::vector<int64_t> shape;
    ggml_type            type = GGML_TYPE_F32;
};

using Tensors = std::vector<Tensor>;

class Metadata {
  public:
    Metadata(llm_arch arch, bool is_moe) :
        gguf(get_gguf_ctx(arch, is_moe)), saver(arch, gguf.get()), names(arch) {
        n_layer = gguf_get_val_u32(gguf.get(), find(LLM_KV_BLOCK_COUNT));
    }

    template <typename Value> void set(llm_kv key, const Value & value) {
        drop(key);
        saver.add_kv(key, value);
    }

    // The saver writes lists as unsigned; these are read as signed.
    void set_signed(llm_kv key, const std::vector<int32_t> & values) {
        const std::string name = names(key);
        gguf_set_arr_data(
            gguf.get(), name.c_str(), GGUF_TYPE_INT32, values.data(), values.size());
    }

    void drop(llm_kv key) {
        if (find(key) >= 0) {
            gguf_remove_key(gguf.get(), names(key).c_str());
        }
    }

    // Sliding window everywhere but in the last layer.
    void set_window_pattern() {
        std::vector<uint32_t> pattern(n_layer, 1);
        pattern.back() = 0;
        set(LLM_KV_ATTENTION_SLIDING_WINDOW_PATTERN, pattern);
    }

    // Blocks that only speculation needs, behind the others and like the first.
    void append_nextn_blocks(uint32_t n) {
        std::vector<std::string> lists;
        for (int64_t key = 0; key < gguf_get_n_kv(gguf.get()); key++) {
            if (gguf_get_kv_type(gguf.get(), key) == GGUF_TYPE_ARRAY) {
                lists.push_back(gguf_get_key(gguf.get(), key));
            }
        }
        for (const std::string & name : lists) {
            lengthen(name, n);
        }
        set(LLM_KV_BLOCK_COUNT, n_layer + n);
        set(LLM_KV_NEXTN_PREDICT_LAYERS, n);
        n_layer += n;
    }

    void set_head_size(uint32_t size) {
        set(LLM_KV_ATTENTION_KEY_LENGTH, size);
        set(LLM_KV_ATTENTION_VALUE_LENGTH, size);
        set(LLM_KV_ROPE_DIMENSION_COUNT, size);
    }

    gguf_context_ptr gguf;
    uint32_t         n_layer;

  private:
    int64_t find(llm_kv key) const { return gguf_find_key(gguf.get(), names(key).c_str()); }

    // A list that has a value per block gets the first one again.
    void lengthen(const std::string & name, uint32_t n) {
        const int64_t   key  = gguf_find_key(gguf.get(), name.c_str());
        const gguf_type type = gguf_get_arr_type(gguf.get(), key);
        const bool has_words =
            type == GGUF_TYPE_UINT32 || type == GGUF_TYPE_INT32 || type == GGUF_TYPE_FLOAT32;
        if (!has_words || gguf_get_arr_n(gguf.get(), key) != n_layer ||
            name.find("sections") != std::string::npos) {
            return;
        }
        const auto *          data = static_cast<const uint32_t *>(gguf_get_arr_data(gguf.get(), key));
        std::vector<uint32_t> values(data, data + n_layer);
        values.resize(n_layer + n, values.front());
        gguf_set_arr_data(gguf.get(), name.c_str(), type, values.data(), values.size());
    }

    llama_model_saver saver;
    LLM_KV            names;
};

void complete_rwkv(Metadata & metadata, uint32_t n_token_shift) {
    metadata.set(LLM_KV_ATTENTION_DECAY_LORA_RANK, uint32_t(64));
    metadata.set(LLM_KV_ATTENTION_ICLR_LORA_RANK, uint32_t(64));
    metadata.set(LLM_KV_ATTENTION_VALUE_RESIDUAL_MIX_LORA_RANK, uint32_t(32));
    metadata.set(LLM_KV_ATTENTION_GATE_LORA_RANK, uint32_t(128));
    metadata.set(LLM_KV_TOKEN_SHIFT_COUNT, n_token_shift);
}

void complete_gemma4(Metadata & metadata, bool is_moe) {
    metadata.set_window_pattern();
    metadata.set_head_size(128);
    metadata.set(LLM_KV_ROPE_DIMENSION_COUNT_SWA, uint32_t(64));
    metadata.set(LLM_KV_ATTENTION_SHARED_KV_LAYERS, uint32_t(0));
    if (is_moe) {
        metadata.set(LLM_KV_EMBEDDING_LENGTH_PER_LAYER, uint32_t(0));
    }
}

void complete_gemma4_assistant(Metadata & metadata) {
    metadata.set_window_pattern();
    metadata.set_head_size(128);
    metadata.set(LLM_KV_ATTENTION_KEY_LENGTH_SWA, uint32_t(64));
    metadata.set(LLM_KV_ATTENTION_VALUE_LENGTH_SWA, uint32_t(64));
    metadata.set(LLM_KV_ROPE_DIMENSION_COUNT_SWA, uint32_t(64));
    metadata.set(LLM_KV_ROPE_FREQ_BASE_SWA, 10000.0f);
    metadata.set(LLM_KV_ATTENTION_SHARED_KV_LAYERS, metadata.n_layer);
    metadata.set(LLM_KV_NEXTN_PREDICT_LAYERS, metadata.n_layer);
    metadata.set(LLM_KV_EMBEDDING_LENGTH_OUT, uint32_t(128));
}

void complete_granite_switch(Metadata & metadata) {
    metadata.set(LLM_KV_ADAPTER_COUNT, uint32_t(2));
    metadata.set(LLM_KV_ADAPTER_LORA_RANK, uint32_t(8));
    metadata.set_signed(LLM_KV_ADAPTER_TOKEN_IDS_ACTIVATE, {5, 6});
    metadata.set_signed(LLM_KV_ADAPTER_TOKEN_IDS_SUBSTITUTE, {1, 2});
}

void complete_eagle3(Metadata & metadata) {
    metadata.set(LLM_KV_BLOCK_COUNT, uint32_t(1));
    metadata.set_signed(LLM_KV_TARGET_LAYERS, {0, 1, 1});
    metadata.set(LLM_KV_TARGET_HIDDEN_SIZE, uint32_t(256));
}

void complete_dflash(Metadata & metadata) {
    metadata.set_window_pattern();
    metadata.drop(LLM_KV_HYPER_CONNECTION_COUNT);
    metadata.set_signed(LLM_KV_TARGET_LAYERS, {0, 1});
    metadata.set(LLM_KV_DFLASH_BLOCK_SIZE, uint32_t(16));
}

void complete_clef(Metadata & metadata) {
    metadata.set(LLM_KV_SSM_INNER_SIZE, uint32_t(256));
    metadata.set(LLM_KV_DECISION_ROUTING_BLOCK_COUNT, uint32_t(1));
    metadata.set(LLM_KV_DECISION_BLOCK_COUNT, uint32_t(2));
    metadata.set(LLM_KV_DECISION_HEAD_COUNT, uint32_t(2));
}

// Adds what an architecture needs beyond the test's metadata.
void complete(Metadata & metadata, llm_arch arch, bool is_moe) {
    switch (arch) {
        case LLM_ARCH_NOMIC_BERT_MOE:
            metadata.set(LLM_KV_MOE_EVERY_N_LAYERS, uint32_t(2));
            [[fallthrough]];
        case LLM_ARCH_BERT:
        case LLM_ARCH_NOMIC_BERT:
        case LLM_ARCH_JINA_BERT_V2:
        case LLM_ARCH_JINA_BERT_V3:
            metadata.set(LLM_KV_TOKENIZER_TOKEN_TYPE_COUNT, uint32_t(2));
            break;
        case LLM_ARCH_RWKV7: complete_rwkv(metadata, 2); break;
        case LLM_ARCH_ARWKV7: complete_rwkv(metadata, 1); break;
        case LLM_ARCH_GEMMA4: complete_gemma4(metadata, is_moe); break;
        case LLM_ARCH_GEMMA4_ASSISTANT: complete_gemma4_assistant(metadata); break;
        case LLM_ARCH_GRANITE_SWITCH: complete_granite_switch(metadata); break;
        case LLM_ARCH_EAGLE3: complete_eagle3(metadata); break;
        case LLM_ARCH_DFLASH: complete_dflash(metadata); break;
        case LLM_ARCH_CLEF: complete_clef(metadata); break;
        case LLM_ARCH_BAILINGMOE3: metadata.drop(LLM_KV_KDA_SAFE_GATE); break;
        default: break;
    }
}

// With experts although the test does not know of them, or in no other way.
bool also_has_experts(llm_arch arch) {
    switch (arch) {
        case LLM_ARCH_DEEPSEEK2OCR:
        case LLM_ARCH_GEMMA4:
        case LLM_ARCH_GRANITE_HYBRID:
        case LLM_ARCH_GRANITE_SWITCH:
        case LLM_ARCH_JAMBA:
        case LLM_ARCH_NEMOTRON_H_MOE:
        case LLM_ARCH_NOMIC_BERT_MOE: return true;
        default: return moe_implemented(arch);
    }
}

bool always_has_experts(llm_arch arch) {
    switch (arch) {
        case LLM_ARCH_DEEPSEEK2OCR:
        case LLM_ARCH_NEMOTRON_H_MOE:
        case LLM_ARCH_NOMIC_BERT_MOE: return true;
        default: return moe_mandatory(arch);
    }
}

// With a graph that drafts with blocks of its own, and how many such blocks it takes.
uint32_t n_nextn_blocks(llm_arch arch) {
    switch (arch) {
        case LLM_ARCH_MIMO2:
        case LLM_ARCH_STEP35: return 2;
        case LLM_ARCH_BAILINGMOE3:
        case LLM_ARCH_COHERE2MOE:
        case LLM_ARCH_DEEPSEEK2:
        case LLM_ARCH_DEEPSEEK32:
        case LLM_ARCH_DEEPSEEK4:
        case LLM_ARCH_GLM4_MOE:
        case LLM_ARCH_GLM5_NEXT:
        case LLM_ARCH_GLM_DSA:
        case LLM_ARCH_HY_V3:
        case LLM_ARCH_NEMOTRON_H_MOE:
        case LLM_ARCH_QWEN35:
        case LLM_ARCH_QWEN35MOE:
        case LLM_ARCH_QWEN3NEXT:
        case LLM_ARCH_QWEN4EXP: return 1;
        default: return 0;
    }
}

enum class Kind { DENSE, MOE, MTP };

bool has_experts(llm_arch arch, Kind kind) {
    return kind == Kind::MTP ? also_has_experts(arch) : kind == Kind::MOE;
}

std::string model_name(llm_arch arch, Kind kind) {
    const char * endings[] = {"-dense", "-moe", "-mtp"};
    return std::string("tiny-") + llm_arch_name(arch) + endings[int(kind)];
}

// The tensors that llama.cpp asks for, given the metadata.
Tensors asked_for(const Metadata & metadata) {
    ggml_backend_dev_t no_devices[] = {nullptr};

    llama_model_params params = llama_model_default_params();
    params.devices            = no_devices;
    params.no_alloc           = true;
    params.load_mode          = LLAMA_LOAD_MODE_NONE;
    params.use_extra_bufts    = false;
    params.load_mtp           = true;

    const llama_model * model = llama_model_init_from_user(
        metadata.gguf.get(), [](ggml_tensor *, void *) {}, nullptr, params);
    if (!model) {
        throw std::runtime_error("llama.cpp makes no model of it");
    }
    Tensors               found;
    std::set<std::string> seen;
    for (const auto & [name, tensor] : model->tensors_by_name) {
        if (seen.insert(name).second) {
            const std::vector<int64_t> shape(tensor->ne, tensor->ne + ggml_n_dims(tensor));
            found.push_back({name, shape, tensor->type});
        }
    }
    return found;
}

Tensors tensors_of(llm_arch arch, bool is_moe) {
    Metadata metadata(arch, is_moe);
    complete(metadata, arch, is_moe);
    return asked_for(metadata);
}

void add(Tensors & tensors, const std::string & name, std::vector<int64_t> shape) {
    tensors.push_back({name, std::move(shape)});
}

// A weight and the bias of its rows.
void add_with_bias(Tensors & tensors, const std::string & name, std::vector<int64_t> shape) {
    const int64_t n_rows = shape.back();
    add(tensors, name + ".weight", std::move(shape));
    add(tensors, name + ".bias", {n_rows});
}

void add_attention(Tensors & tensors, const std::string & prefix, int64_t width) {
    for (const char * part : {"q", "k", "v", "o"}) {
        add_with_bias(tensors, prefix + part, {width, width});
    }
}

// The body of qwen35 under a head that decides: one block that routes, two that decide.
Tensors tensors_of_clef() {
    constexpr int64_t n_embd = 256, width = 128, n_ff = 192;

    Tensors tensors;
    for (Tensor & tensor : tensors_of(LLM_ARCH_QWEN35, false)) {
        if (tensor.name.rfind("cls", 0) != 0) {
            tensors.push_back(std::move(tensor));
        }
    }
    for (int i = 0; i < 3; i++) {
        const std::string block = "dec.blk." + std::to_string(i) + ".";
        if (i == 0) {
            add_with_bias(tensors, block + "cross_attn_norm_kv", {width});
        } else {
            add_with_bias(tensors, block + "attn_norm", {width});
            add_attention(tensors, block + "attn_", width);
        }
        add_with_bias(tensors, block + "cross_attn_norm", {width});
        add_attention(tensors, block + "cross_attn_", width);
        add_with_bias(tensors, block + "ffn_norm", {width});
        add_with_bias(tensors, block + "ffn_up", {width, n_ff});
        add_with_bias(tensors, block + "ffn_down", {n_ff, width});
    }
    add_with_bias(tensors, "decision.hidden_norm", {n_embd});
    for (const char * norm : {"option_summary_norm", "field_norm", "option_norm"}) {
        add_with_bias(tensors, std::string("decision.") + norm, {width});
    }
    for (const char * of : {
             "memory", "question", "option_question", "global", "option_context",
             "option_lexical"}) {
        add(tensors, std::string("decision.proj_") + of + ".weight", {n_embd, width});
    }
    add(tensors, "decision.scales", {3});
    add(tensors, "token_types.weight", {width, 3});
    add_with_bias(tensors, "decision.scorer", {4 * width, width});
    add_with_bias(tensors, "decision.scorer_out", {width, 1});
    return tensors;
}

// A draft for the small gemma4: two layers, of which the second has the full window.
Tensors tensors_of_gemma4_assistant() {
    constexpr int64_t n_embd = 256, n_ff = 384, n_vocab = 128, n_embd_target = 128, n_head = 2;

    Tensors tensors;
    add(tensors, "token_embd.weight", {n_embd, n_vocab});
    add(tensors, "output_norm.weight", {n_embd});
    add(tensors, "nextn.post_projection.weight", {n_embd, n_embd_target});
    add(tensors, "nextn.pre_projection.weight", {2 * n_embd_target, n_embd});
    add(tensors, "rope_freqs.weight", {64});
    for (int i = 0; i < 2; i++) {
        const int64_t     head_size = i == 0 ? 64 : 128;
        const std::string block     = "blk." + std::to_string(i) + ".";
        for (const char * norm : {
                 "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) {
            add(tensors, block + norm + ".weight", {n_embd});
        }
        add(tensors, block + "attn_q.weight", {n_embd, n_head * head_size});
        add(tensors, block + "attn_q_norm.weight", {head_size});
        add(tensors, block + "attn_output.weight", {n_head * head_size, n_embd});
        add(tensors, block + "layer_output_scale.weight", {1});
        add(tensors, block + "ffn_gate.weight", {n_embd, n_ff});
        add(tensors, block + "ffn_up.weight", {n_embd, n_ff});
        add(tensors, block + "ffn_down.weight", {n_ff, n_embd});
    }
    return tensors;
}

bool ends_with(const std::string & text, const std::string & ending) {
    return text.size() >= ending.size() &&
           text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

// Biases and scales of query, key and value.
bool belongs_to_attention_input(const std::string & name) {
    for (const char * part : {".attn_q.", ".attn_k.", ".attn_v."}) {
        if (name.find(part) != std::string::npos) {
            return true;
        }
    }
    return false;
}

// Query, key and value in one tensor, as the graphs of some nextn blocks want them.
Tensors with_fused_attention(const Tensors & tensors) {
    Tensors fused;
    for (const Tensor & tensor : tensors) {
        const bool is_query = ends_with(tensor.name, ".attn_q.weight");
        if (is_query) {
            fused.push_back(tensor);
            fused.back().name.replace(tensor.name.rfind("attn_q."), 7, "attn_qkv.");
        }
        if (ends_with(tensor.name, ".attn_k.weight") || ends_with(tensor.name, ".attn_v.weight")) {
            fused.back().shape[1] += tensor.shape[1];
        } else if (!is_query && !belongs_to_attention_input(tensor.name)) {
            fused.push_back(tensor);
        }
    }
    return fused;
}

// What llama.cpp asks for only where a file has it.
void complete_nextn_blocks(Tensors & tensors, llm_arch arch, uint32_t last) {
    if (arch == LLM_ARCH_MIMO2) {
        tensors = with_fused_attention(tensors);
    }
    if (arch == LLM_ARCH_DEEPSEEK4) {
        constexpr int64_t n_embd = 512;
        const std::string block  = "blk." + std::to_string(last) + ".nextn.";
        add(tensors, block + "eh_proj.weight", {2 * n_embd, n_embd});
        for (const char * norm : {"enorm", "hnorm", "shared_head_norm"}) {
            add(tensors, block + norm + ".weight", {n_embd});
        }
    }
}

ggml_tensor described(const Tensor & tensor) {
    ggml_tensor t = {};
    t.type        = tensor.type;
    ggml_set_name(&t, tensor.name.c_str());
    std::fill(t.ne, t.ne + GGML_MAX_DIMS, 1);
    std::copy(tensor.shape.begin(), tensor.shape.end(), t.ne);
    t.nb[0] = ggml_type_size(t.type);
    t.nb[1] = ggml_row_size(t.type, t.ne[0]);
    for (int i = 2; i < GGML_MAX_DIMS; i++) {
        t.nb[i] = t.nb[i - 1] * size_t(t.ne[i - 1]);
    }
    return t;
}

// The data is a hole in the file.
void write(const std::string & path, const Metadata & metadata, const Tensors & tensors) {
    gguf_context_ptr file(gguf_init_empty());
    gguf_set_kv(file.get(), metadata.gguf.get());
    size_t data_bytes = 0;
    for (const Tensor & tensor : tensors) {
        const ggml_tensor t = described(tensor);
        gguf_add_tensor(file.get(), &t);
        data_bytes += GGML_PAD(ggml_nbytes(&t), ALIGNMENT);
    }
    const off_t size = off_t(gguf_get_meta_size(file.get()) + data_bytes);
    if (!gguf_write_to_file(file.get(), path.c_str(), true) || truncate(path.c_str(), size) != 0) {
        throw std::runtime_error("cannot write " + path);
    }
}

void generate(const std::string & folder, llm_arch arch, Kind kind) {
    const bool is_moe = has_experts(arch, kind);
    Metadata   metadata(arch, is_moe);
    complete(metadata, arch, is_moe);
    if (kind == Kind::MTP) {
        metadata.append_nextn_blocks(n_nextn_blocks(arch));
    }
    Tensors tensors = arch == LLM_ARCH_CLEF              ? tensors_of_clef()
                      : arch == LLM_ARCH_GEMMA4_ASSISTANT ? tensors_of_gemma4_assistant()
                                                          : asked_for(metadata);
    if (kind == Kind::MTP) {
        complete_nextn_blocks(tensors, arch, metadata.n_layer - 1);
    }
    write(folder + "/" + model_name(arch, kind) + ".gguf", metadata, tensors);
}

// llama.cpp aborts on metadata that it does not expect, so every model has a process of its own.
bool generate_in_child(const std::string & folder, llm_arch arch, Kind kind) {
    const pid_t child = fork();
    if (child == 0) {
        try {
            generate(folder, arch, kind);
        } catch (const std::exception & e) {
            fprintf(stderr, "%s: %s\n", model_name(arch, kind).c_str(), e.what());
            _exit(EXIT_FAILURE);
        }
        _exit(EXIT_SUCCESS);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "%s: aborted\n", model_name(arch, kind).c_str());
    }
    return status == 0;
}

bool is_asked_for(const std::set<std::string> & chosen, llm_arch arch) {
    return arch != LLM_ARCH_UNKNOWN && (chosen.empty() || chosen.count(llm_arch_name(arch)));
}

}  // namespace

extern "C" [[noreturn]] void trapped(const char * name) {
    fprintf(stderr, "no code for %s\n", name);
    _exit(EXIT_FAILURE);
}

int main(int argc, char ** argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: generate FOLDER [ARCHITECTURE ...]\n");
        return EXIT_FAILURE;
    }
    const std::set<std::string> chosen(argv + 2, argv + argc);
    setenv("GGML_NO_BACKTRACE", "1", 1);
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    int n_written = 0;
    for (llm_arch arch : llm_arch_all()) {
        for (Kind kind : {Kind::DENSE, Kind::MOE, Kind::MTP}) {
            const bool exists = kind == Kind::DENSE ? !always_has_experts(arch)
                                : kind == Kind::MOE ? also_has_experts(arch)
                                                    : n_nextn_blocks(arch) > 0;
            if (exists && is_asked_for(chosen, arch)) {
                n_written += generate_in_child(argv[1], arch, kind);
            }
        }
    }
    fprintf(stderr, "%d models\n", n_written);
    // Destructors of the backend expect a GPU.
    fflush(nullptr);
    _exit(n_written ? EXIT_SUCCESS : EXIT_FAILURE);
}
