"""The same advice in the words of the programs that wrap the engine.

Ollama, LM Studio, KoboldCpp and llama-cpp-python have settings of their own for what llama-server
has options for; a log says which of them wrote it.
"""

from __future__ import annotations

from ggufctl.core.signatures.table import Variant

__all__ = [
    "COMPUTE",
    "CONTEXT",
    "HOST",
    "KNOWN_PROGRAMS",
    "KV",
    "NEWER",
    "NEWER_GPU",
    "NO_FLASH",
    "RUN_TIME",
    "WEIGHTS",
    "by_program",
]

KNOWN_PROGRAMS = tuple(
    (
        "llama-server llama-cli llama-bench llama-quantize llama-gguf-split llama-perplexity "
        "llama-mtmd-cli llama-imatrix ollama koboldcpp local-ai lms ggufctl huggingface-cli modal "
        "docker docker-compose podman kubectl helm nvidia-smi rocm-smi nvcc cmake ninja make git "
        "git-lfs curl wget aria2c python python3 pip pip3 conda systemctl journalctl nginx caddy"
    ).split()
)
"""Programs that logs of deployments call, by the names of their commands."""

_OLLAMA = (
    r"(?<![./\\])\bollama\b(?![/\\])|\bsource=\w+\.go:|\bllama runner\b|memory layout cannot be "
    r"allocated|requires "
    r"more system memory|full model on GPU|VRAM to load requested|model runner has"
)
_LM_STUDIO = r"\bLM ?Studio\b|\[LMS\w*\]|🥲"
_KOBOLD = (
    r"\bkobold|gpttype_|Load Text Model|\bcontextsize\b|Processing Prompt (?:\[|\()|Generating \(\d"
)
_PYTHON = r"\bllama_cpp\b|llama-cpp-python|\bn_gpu_layers=|\bLlama\.__init__"
_VLLM = r"\bvllm\b|\bEngineCore"

_OTHER_MODELS = (
    "Free what other models hold: ollama ps, ollama stop NAME, OLLAMA_MAX_LOADED_MODELS=1."
)
_OLLAMA_KV = (
    "Lower the context: OLLAMA_CONTEXT_LENGTH or num_ctx, and OLLAMA_NUM_PARALLEL=1, as each "
    "request at the same time has a cache of its own.",
    "Store the cache smaller: OLLAMA_FLASH_ATTENTION=1 and OLLAMA_KV_CACHE_TYPE=q8_0.",
)
_VLLM_LESS = (
    "Lower vLLM's --max-model-len and --max-num-seqs, and --gpu-memory-utilization so that some "
    "GiB stay free for compiling and tuning (--enforce-eager does without).",
    "Take a smaller or quantised model, or divide it: --tensor-parallel-size.",
    "Look for another process on the same GPU (nvidia-smi).",
)
_LM_STUDIO_KV = (
    "Load the model with a shorter Context Length (the gear beside it).",
    "Switch Flash Attention on and quantise the K and V cache to Q8_0, or take the cache off the "
    "GPU (Offload KV Cache to GPU Memory).",
)
_KOBOLD_KV = (
    "Use a smaller --contextsize.",
    "Store the cache smaller: --quantkv 1 with --flashattention; lowvram behind --usecublas keeps "
    "it in host memory.",
)
_PYTHON_KV = (
    "Pass a smaller n_ctx.",
    "Store the cache smaller: flash_attn=True with type_k=8 and type_v=8 (q8_0); "
    "offload_kqv=False keeps it in host memory.",
)


def by_program(
    *,
    ollama: tuple[str, ...] = (),
    lm_studio: tuple[str, ...] = (),
    koboldcpp: tuple[str, ...] = (),
    python: tuple[str, ...] = (),
    vllm: tuple[str, ...] = (),
) -> tuple[Variant, ...]:
    """Variants with the fixes of each program that has some of its own."""
    return tuple(
        Variant(pattern, fix)
        for pattern, fix in (
            (_LM_STUDIO, lm_studio),
            (_OLLAMA, ollama),
            (_KOBOLD, koboldcpp),
            (_PYTHON, python),
            (_VLLM, vllm),
        )
        if fix
    )


WEIGHTS = by_program(
    ollama=(
        "Use a smaller quant or model (the tags on its page), or keep layers in host memory: "
        "num_gpu as a parameter of the request or in the Modelfile.",
        _OTHER_MODELS,
        *_OLLAMA_KV,
    ),
    lm_studio=(
        "Load it with a lower GPU Offload (the gear beside it), or take a smaller quant.",
        "For a mixture of experts, force the experts onto the CPU.",
        *_LM_STUDIO_KV,
    ),
    koboldcpp=(
        "Use fewer --gpulayers (-1 lets it choose), or a smaller quant; --moecpu N keeps experts "
        "in host memory.",
        *_KOBOLD_KV,
    ),
    python=(
        "Pass a smaller n_gpu_layers, or use a smaller quant.",
        *_PYTHON_KV,
    ),
    vllm=_VLLM_LESS,
)
"""Where weights do not fit on the GPU."""

KV = by_program(
    ollama=(*_OLLAMA_KV, _OTHER_MODELS),
    lm_studio=_LM_STUDIO_KV,
    koboldcpp=_KOBOLD_KV,
    python=_PYTHON_KV,
)
"""Where the cache does not fit."""

COMPUTE = by_program(
    ollama=(
        "Lower num_ctx and num_batch (parameters of the request or of the Modelfile), and set "
        "OLLAMA_FLASH_ATTENTION=1 and OLLAMA_NUM_PARALLEL=1.",
        "Leave the GPU more room: a lower num_gpu, or OLLAMA_GPU_OVERHEAD with the bytes to keep "
        "free.",
    ),
    lm_studio=(
        "Load it with a lower Evaluation Batch Size, a shorter Context Length and Flash Attention.",
        "Leave the GPU more room: a lower GPU Offload, or a smaller quant.",
    ),
    koboldcpp=(
        "Use a smaller --blasbatchsize and --contextsize, and --flashattention.",
        "Leave the GPU more room: fewer --gpulayers, or a smaller quant.",
    ),
    python=(
        "Pass a smaller n_batch, n_ubatch and n_ctx, and flash_attn=True.",
        "Leave the GPU more room: a smaller n_gpu_layers, or a smaller quant.",
    ),
)
"""Where the compute buffer does not fit."""

RUN_TIME = by_program(
    ollama=(
        "Leave the GPU more room: OLLAMA_GPU_OVERHEAD=1073741824 (bytes to keep free), a lower "
        "num_ctx or num_gpu, or OLLAMA_NUM_PARALLEL=1.",
        "Look for another process on the same GPU (nvidia-smi), and for models that are still "
        "loaded (ollama ps).",
    ),
    lm_studio=(
        "Load it with a lower GPU Offload, a shorter Context Length and a lower Evaluation Batch "
        "Size, so that some GiB of the GPU stay free.",
        "Look for another process on the same GPU.",
    ),
    koboldcpp=(
        "Leave the GPU more room: fewer --gpulayers, a smaller --contextsize or --blasbatchsize.",
        "Look for another process on the same GPU.",
    ),
    python=(
        "Leave the GPU more room: a smaller n_gpu_layers, n_ctx or n_batch.",
        "Look for another process on the same GPU.",
    ),
    vllm=_VLLM_LESS,
)
"""Where memory runs out at work."""

CONTEXT = by_program(
    ollama=(
        "Raise the context: num_ctx in the options of the request or in the Modelfile, or "
        "OLLAMA_CONTEXT_LENGTH for all models.",
        "Shorten the prompt or the history.",
    ),
    koboldcpp=("Raise --contextsize.", "Shorten the prompt or the history."),
    python=(
        "Pass a larger n_ctx (512 by default; 0 takes what the model was trained with).",
        "Shorten the prompt, or lower max_tokens.",
    ),
)
"""Where a request is longer than the context."""

HOST = by_program(
    ollama=(
        "Use a smaller quant or model, and a smaller num_ctx with OLLAMA_NUM_PARALLEL=1.",
        "Free memory: end other programs and models (ollama ps, ollama stop NAME), or give the "
        "machine, container or WSL (.wslconfig) more memory or swap.",
    ),
    lm_studio=(
        "Use a smaller quant or a shorter Context Length, and eject other models.",
        "Free memory, or enlarge the paging (swap) file; switch Keep Model in Memory off and "
        "Try mmap on.",
    ),
    koboldcpp=(
        "Use a smaller quant or --contextsize, or put more on the GPU with --gpulayers.",
        "Free memory, or enlarge the paging (swap) file; try it with --usemmap.",
    ),
    python=(
        "Use a smaller quant or n_ctx, put more on the GPU with n_gpu_layers=-1, and leave "
        "use_mmap on and use_mlock off.",
        "Give the machine or container more memory or swap.",
    ),
)
"""Where the host's memory is too small."""

NEWER_GPU = by_program(
    ollama=(
        "Update Ollama, whose builds know new GPUs; a GPU that new ones have dropped needs an "
        "older version.",
        "Or let it use Vulkan: OLLAMA_VULKAN=1, and OLLAMA_LLM_LIBRARY names one of its backends.",
    ),
    lm_studio=(
        "Choose another runtime under Settings > Runtime: CUDA 12 instead of CUDA, or Vulkan, "
        "which works with every GPU.",
    ),
    koboldcpp=(
        "Use the build for it: koboldcpp (CUDA 12) for new GPUs, oldpc (CUDA 11) for old ones.",
        "Or start it with --usevulkan, which works with every GPU.",
    ),
    python=(
        'Build the wheel for this GPU: CMAKE_ARGS="-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES='
        'native" pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python '
        "llama-cpp-python.",
    ),
)
"""Where the build has no code for the GPU."""

NEWER = by_program(
    ollama=(
        "Update Ollama, then pull or create the model anew; if it came with an update, go back to "
        "the version before.",
        "If it stays so, its engine does not know this conversion: use a model of Ollama's own "
        "library, or llama-server with the same file.",
    ),
    lm_studio=(
        "Update the llama.cpp runtime (Settings > Runtime, beta channel if need be), and LM Studio "
        "itself.",
        "Otherwise take another conversion of the model, such as lmstudio-community's.",
    ),
    koboldcpp=(
        "Use the newest KoboldCpp; if it is the newest and the model loaded before, the one before "
        "it.",
        "Otherwise use llama-server with the same file until the next one is there.",
    ),
    python=(
        "Update the binding: pip install -U --no-cache-dir llama-cpp-python; a wheel is as old as "
        "the llama.cpp in it.",
        "If no release is new enough, use llama-server with the same file; if it is the file that "
        "is old or odd, take another conversion (GGUF) of the model.",
    ),
)
"""Where a model is newer than the engine."""

NO_FLASH = by_program(
    ollama=(
        "Update Ollama; if it stays so, try OLLAMA_FLASH_ATTENTION=0 and OLLAMA_KV_CACHE_TYPE=f16, "
        "then num_gpu 0 to see whether it is the GPU.",
        "Go back to the version before if it came with an update. After the machine slept, load "
        "nvidia_uvm anew (sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm) and restart Ollama.",
    ),
    lm_studio=(
        "Choose another version of the runtime (Settings > Runtime): a newer one, or the one "
        "before if it came with an update; then Vulkan or CPU.",
        "Load the model without Flash Attention and with an f16 cache.",
    ),
    koboldcpp=(
        "Use the newest KoboldCpp, or the one before if it came with an update.",
        "Try it without --flashattention and --quantkv, then with another backend (--usevulkan, "
        "--usecpu).",
    ),
    python=(
        "Update llama-cpp-python, or go back to the version before; try flash_attn=False, then "
        "n_gpu_layers=0.",
    ),
)
"""Where the engine itself is at fault."""
