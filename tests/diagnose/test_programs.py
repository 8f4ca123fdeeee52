"""The fix names the options of the program that wrote the log."""

from __future__ import annotations

import pytest

from ggufctl.core.diagnosis import diagnose_chunks

LOGS = [
    (
        "ollama-weights",
        "ollama[1]: ggml_backend_cuda_buffer_type_alloc_buffer: allocating 35533.34 MiB on device "
        "0: cudaMalloc failed: out of memory\nollama[1]: llama_model_load: error loading model: "
        "unable to allocate CUDA0 buffer\n",
        "num_gpu",
    ),
    (
        "ollama-host",
        "Error: model requires more system memory (11.3 GiB) than is available (7.2 GiB)\n",
        "num_ctx",
    ),
    (
        "lm-studio-weights",
        "[LMSInternal] Error: error loading model: unable to allocate Vulkan0 buffer\n",
        "GPU Offload",
    ),
    (
        "koboldcpp-cache",
        "gpttype_load_model: error: failed to load model\nkoboldcpp: llama_init_from_model: failed "
        "to initialize the context: failed to allocate buffer for kv cache\n",
        "--contextsize",
    ),
    (
        "python-context",
        "ValueError: Requested tokens (5000) exceed context window of 4096 (llama_cpp)\n",
        "n_ctx",
    ),
    (
        "python-load",
        "ValueError: Failed to load model from file: /models/x.gguf\n",
        "verbose=True",
    ),
    (
        "dotnet-load",
        "LLama.Exceptions.LoadWeightsFailedException: Failed to load model '/models/x.gguf'\n",
        "Backend package",
    ),
    (
        "old-format",
        "LLama.Exceptions.RuntimeError: Failed to load model '/models/wiz.ggmlv3.q4_1.bin'\n",
        "download a GGUF",
    ),
    (
        "metal-compile",
        "ggml_metal_library_init: error: Error Domain=MTLLibraryErrorDomain Code=3\n",
        "GGML_METAL_TENSOR_DISABLE",
    ),
    (
        "windows-runtime",
        "Faulting module name: MSVCP140.dll, version: 14.34.31931.0\n",
        "Visual C++ Redistributable",
    ),
]


@pytest.mark.parametrize(("log", "word"), [pytest.param(*row[1:], id=row[0]) for row in LOGS])
def test_fix_in_the_words_of_the_program(log: str, word: str) -> None:
    """The first cause's fix helps in the very program."""
    *_, report = diagnose_chunks([log.encode()])
    assert word in " ".join(report.diagnoses[0].fix)
