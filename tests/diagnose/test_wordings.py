"""One cause, many wordings: short logs of many programs, in the words of public reports."""

from __future__ import annotations

import pytest

from ggufctl.core.diagnosis import LogReport, diagnose_chunks

WORDINGS = [
    (
        "oom-weights",
        "koboldcpp\nllama_model_load: error loading model: unable to allocate CUDA0 "
        "buffer\nllama_model_load_from_file_impl: failed to load model\ngpttype_load_model: "
        "error: failed to load model '/x.gguf'\nLoad Text Model OK: False\nCould not load text "
        "model: /x.gguf\n",
    ),
    (
        "oom-weights",
        "🥲 Failed to load the model\n\nFailed to load model\n\nerror loading model: unable to "
        "allocate Vulkan0 buffer\n",
    ),
    (
        "oom-kv",
        "🥲 Failed to load the model\nFailed to load model\nFailed to initialize the context: "
        "failed to allocate buffer for kv cache\n",
    ),
    (
        "oom-host-weights",
        "Error: model requires more system memory (8.4 GiB) than is available (5.8 GiB)\n",
    ),
    (
        "oom-killed",
        '2026-01-01 level=ERROR source=server.go:421 msg="llama runner terminated" '
        'error="signal: killed"\nError: llama runner process has terminated: signal: killed\n',
    ),
    (
        "oom-killed",
        "[12345.6] llama-server invoked oom-killer: gfp_mask=0x\n[12345.7] Memory cgroup out of "
        "memory: Killed process 812 (llama-server) total-vm:1kB\n",
    ),
    (
        "oom-killed",
        "    State:          Waiting\n      Reason:       CrashLoopBackOff\n    Last State:     "
        "Terminated\n      Reason:       OOMKilled\n      Exit Code:    137\n",
    ),
    (
        "illegal-instruction",
        "🥲 Failed to load the model\n\nError loading model.\n\n(Exit code: 132). Please check "
        "settings and try loading the model again.\n",
    ),
    ("shared-library-missing", "llama runner process has terminated: exit status 0xc0000135\n"),
    (
        "driver-too-old",
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please "
        "update your driver to a newer version, or use an earlier cuda container: unknown.\n",
    ),
    (
        "port-taken",
        "docker: Error response from daemon: driver failed programming external connectivity on "
        "endpoint x: Bind for 0.0.0.0:8080 failed: port is already allocated.\n",
    ),
    ("port-taken", "Error: listen tcp 127.0.0.1:11434: bind: address already in use\n"),
    (
        "port-taken",
        "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): "
        "address already in use\n",
    ),
    (
        "disk-full",
        "OSError: [Errno 28] No space left on device: '/home/u/.cache/huggingface/hub/x'\nRunner "
        "failed with exception: OSError(28)\n",
    ),
    (
        "modal-startup-timeout",
        "Loading model weights...\nRunner failed with exception: Runner has been initializing for "
        "too long: 300 seconds\n",
    ),
    (
        "hub-not-found",
        "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: "
        "Root=1)\n\nRepository Not Found for url: https://huggingface.co/api/models/x/y.\nInvalid "
        "username or password.\n",
    ),
    ("hub-not-found", "Error: pull model manifest: file does not exist\n"),
    (
        "dns-failed",
        'Error: max retries exceeded: Get "https://registry.ollama.ai/v2/": dial tcp: lookup '
        "registry.ollama.ai on 127.0.0.53:53: no such host\n",
    ),
    (
        "unknown-architecture",
        "Error: llama runner process has terminated: error loading model: unknown model "
        "architecture: 'gemma4'\n",
    ),
    (
        "tensor-shape",
        "llama_model_load: error loading model: done_getting_tensors: wrong number of tensors; "
        "expected 292, got 291\nllama_load_model_from_file: failed to load model\n",
    ),
    (
        "file-is-lfs-pointer",
        "error loading model: unknown (magic, version) combination: 73726576, 206e6f69; is this "
        "really a GGML file?\nllama_load_model_from_file: failed to load model\n",
    ),
    (
        "gpu-arch-unsupported",
        "CUDA error: no kernel image is available for execution on the device\n  current device: "
        "0, in function ggml_cuda_op_mul_mat at x.cu:1\nllama-server exited with code 134\n",
    ),
    (
        "projector-not-given",
        'srv  operator(): got exception: {"error":{"code":500,"message":"image input is not '
        "supported - hint: if this is unexpected, you may need to provide the "
        'mmproj","type":"server_error"}}\n',
    ),
    (
        "template-refuses",
        '{"error":{"code":500,"message":"Jinja Exception: Conversation roles must alternate '
        'user/assistant/user/assistant/...","type":"server_error"}}\n',
    ),
    (
        "image-pull",
        "Warning  Failed     kubelet  Error: ErrImagePull\nNormal BackOff kubelet Back-off "
        'pulling image "x"\n',
    ),
    (
        "image-not-found",
        'Failed to pull image "ghcr.io/ggml-org/llama.cpp:nope": rpc error: code = NotFound '
        "desc = failed to pull and unpack image: ghcr.io/ggml-org/llama.cpp:nope: not "
        "found\nError: ErrImagePull\n",
    ),
    (
        "gpu-not-schedulable",
        "Warning  FailedScheduling  default-scheduler  0/3 nodes are available: 1 node(s) had "
        "untolerated taint {nvidia.com/gpu: present}, 2 Insufficient nvidia.com/gpu. preemption: "
        "0/3 nodes are available\n",
    ),
    (
        "secret-missing",
        'Error: secret "hf-token" not found\nWarning Failed kubelet Error: '
        "CreateContainerConfigError\n",
    ),
    (
        "module-missing",
        'Traceback (most recent call last):\n  File "/x.py"\nModuleNotFoundError: No module '
        "named 'llama_cpp'\n",
    ),
    (
        "cuda-link",
        "442.3       /usr/bin/ld: warning: libcuda.so.1, needed by bin/libggml-cuda.so.0.9.4, not "
        "found (try using -rpath or -rpath-link)\n442.3 /usr/bin/ld: bin/libggml-cuda.so.0.9.4: "
        "undefined reference to `cuMemRelease'\n442.3 ninja: build stopped: subcommand "
        "failed.\nERROR: Failed building wheel for llama-cpp-python\n",
    ),
    (
        "cuda-arch-unknown",
        "nvcc fatal   : Unsupported gpu architecture 'compute_120'\ngmake: *** [Makefile:146: "
        "all] Error 2\nERROR: failed to solve: process x did not complete successfully: exit "
        "code: 2\n",
    ),
    ("segfault", "Segmentation fault (core dumped)\n"),
    (
        "oom-compute",
        "ggml_vulkan: Device memory allocation of size 3959422976 failed.\nggml_vulkan: "
        "vk::Device::allocateMemory: ErrorOutOfDeviceMemory\nggml_gallocr_reserve_n: failed to "
        "allocate Vulkan0 buffer of size 3959422976\nllama_context: failed to allocate compute "
        "buffers\n",
    ),
    ("context-exceeded", "ValueError: Requested tokens (5012) exceed context window of 4096\n"),
    ("key-wrong", "srv  middleware: unauthorized: Invalid API Key\n"),
    (
        "download-denied",
        "common_download_file_single_online: HEAD failed, status: 401\nerror loading model: x\n",
    ),
    (
        "file-permission",
        "gguf_init_from_file: failed to open GGUF file '/models/x.gguf' (Permission denied)\n",
    ),
    (
        "mount-failed",
        'Error response from daemon: invalid mount config for type "bind": bind source path '
        "does not exist: /models\n",
    ),
    (
        "modal-not-found",
        "modal.exception.NotFoundError: Volume 'models' not found in environment 'main'\n",
    ),
    (
        "argument-value",
        'error while handling argument "-fa": error: unknown value for --flash-attn: '
        "'-c'\n\nusage:\n-fa\n",
    ),
    ("argument-unknown", "error: invalid argument: --no-webui-x\n"),
    (
        "oom-runtime",
        "srv update_slots: all slots are idle\nggml_cuda_pool_malloc\nCUDA error: out of memory\n "
        " current device: 1, in function alloc at ggml-cuda.cu:457\n  "
        "cuMemSetAccess()\n/app/ggml-cuda.cu:88: CUDA error\n",
    ),
    (
        "probe-failed",
        "Warning  Unhealthy  2m kubelet  Liveness probe failed: Get "
        '"http://10.0.0.1:8080/health": context deadline exceeded\nNormal Killing Container '
        "llama failed liveness probe, will be restarted\nExit Code: 137\n",
    ),
    (
        "gpu-fell-off",
        "kernel: NVRM: Xid (PCI:0000:01:00): 79, pid=1, GPU has fallen off the bus.\nCUDA error: "
        "unspecified launch failure\n",
    ),
    ("modal-image-build", "Image build for im-x failed. See build logs\n"),
    (
        "docker-no-gpu-runtime",
        "Error response from daemon: unknown or invalid runtime name: nvidia\n",
    ),
    ("no-tls", "error: built without SSL\n"),
    (
        "ptx-toolchain",
        "CUDA error 222 at /x/ggml-cuda.cu:5664: the provided PTX was compiled with an "
        "unsupported toolchain.\ncurrent device: 0\n",
    ),
    (
        "driver-too-old",
        "CUDA error 35 at /x/ggml-cuda.cu:1: CUDA driver version is insufficient for CUDA runtime "
        "version\n",
    ),
    (
        "glibc-too-old",
        "./llama-server: /lib64/libm.so.6: version `GLIBC_2.29' not found (required by "
        "./llama-server)\n",
    ),
    (
        "vulkan-device-lost",
        "terminate called after throwing an instance of 'vk::DeviceLostError'\n  what():  "
        "vk::Queue::submit: ErrorDeviceLost\n",
    ),
    (
        "key-missing",
        "llama_model_load: error loading model: error loading model hyperparameters: key "
        "qwen3.attention.head_count has wrong type str\n",
    ),
    (
        "file-missing",
        "gguf_init_from_file: failed to open GGUF file '/m/x.gguf'\nllama_model_load: error "
        "loading model: llama_model_loader: failed to load model from /m/x.gguf\n"
        "common_init_from_params: failed to load model '/m/x.gguf', try reducing --n-gpu-layers "
        "if you're running out of VRAM\n",
    ),
    ("file-missing", "whisper_init_from_file_no_state: failed to open 'models/ggml-base.bin'\n"),
    (
        "model-file-unusable",
        "error loading model: llama_model_loader: failed to load model from D:\\flux1-Q4_0.gguf\n",
    ),
    (
        "model-load-failed",
        "ValueError: Failed to load model from file: /m/x.gguf (file size: 67.5 GB).\nCommon "
        "causes: insufficient memory or out of memory, or corrupt file.\n",
    ),
    (
        "model-load-failed",
        "[node] Warning: chat handler does not support image_max_tokens\nFailed to load model from "
        "file: /m/x.gguf\nAttributeError: 'LlamaModel' object has no attribute 'sampler'\n",
    ),
    (
        "quant-type-unknown",
        "GGML_ASSERT: ggml.c:20602: 0 <= info->type && info->type < GGML_TYPE_COUNT\n",
    ),
    ("tensor-missing", "llama_model_load: error loading model: missing tensor\n'output.weight'\n"),
    (
        "sycl-failed",
        "could not create a primitive\nException caught at file:/x/ggml-sycl/ggml-sycl.cpp, "
        "line:2985, func:operator()\nSYCL error: CHECK_TRY_ERROR(op(ctx)): Exception caught in "
        "this line of code.\n/x/ggml-sycl/common.hpp:144: SYCL error\n",
    ),
    ("gpu-unlicensed", "CUDA error: cudaErrorDeviceNotLicensed\n"),
    ("package-shadowed", "No module named 'openai.types'; 'openai' is not a package\n"),
    (
        "package-shadowed",
        "ImportError: cannot import name 'OpenAI' from partially initialized module 'openai' (most "
        "likely due to a circular import) (/home/me/openai.py)\n",
    ),
    (
        "client-outdated",
        "huggingface-cli: error: argument {env,login}: invalid choice: 'download' (choose from "
        "'env', 'login')\n",
    ),
    (
        "gpu-too-full",
        "msg=offload library=cuda layers.requested=-1 layers.model=81 layers.offload=0 layers.split"
        '="" memory.available="[2.0 GiB]" memory.gpu_overhead="0 B" memory.required.full="127.4 '
        'GiB"\n',
    ),
    (
        "gpu-not-found",
        "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected\nwarning: "
        "no usable GPU found, --gpu-layers option will be ignored\nwarning: one possible reason is "
        "that llama.cpp was compiled without GPU support\nmain: server is listening on "
        "http://127.0.0.1:8080 - starting the main loop\n",
    ),
    (
        "engine-built-without-gpu",
        "warning: no usable GPU found, --gpu-layers option will be ignored\nwarning: one possible "
        "reason is that llama.cpp was compiled without GPU support\nmain: server is listening on "
        "http://127.0.0.1:8080 - starting the main loop\n",
    ),
    (
        "gpu-not-found",
        "ggml_init_cublas: no CUDA devices found, CUDA will be disabled\n",
    ),
    (
        "driver-mismatch",
        'level=WARN source=gpu.go:601 msg="unable to load cuda driver library" error="version '
        "mismatch between driver and cuda driver library - reboot or upgrade may be required: "
        'library /usr/lib/libcuda.so.550.54"\nlevel=INFO source=gpu.go:384 msg="no compatible '
        'GPUs were discovered"\n',
    ),
    (
        "llamafile-no-gpu",
        "get_nvcc_path: note: nvcc not found on $PATH\nfatal error: support for --gpu nvidia was "
        "explicitly requested, but it wasn't available\n",
    ),
    (
        "version-mismatch",
        "$ ollama create foo -f Modelfile\nError: the ollama server must be updated to use "
        "`ollama create` with this client\n",
    ),
    (
        "config-file-invalid",
        'Error: (line 3): command must be one of "from", "license", "template", "system"\n',
    ),
    (
        "client-timeout",
        '[GIN] 2025/06/02 - 10:01:00 | 499 |          5m0s | 10.0.0.2 | POST "/api/generate"\n',
    ),
    (
        "model-not-served",
        '{"error":{"message":"No models loaded. Please load a model in the developer page or use '
        'the `lms load` command.","type":"invalid_request_error"}}\n',
    ),
    (
        "key-wrong",
        '{"error":{"message":"Authorization header missing","code":401,"type":""}}\n',
    ),
    (
        "file-missing",
        "Welcome to KoboldCpp - Version 1.76\nNo ggml model or kcpps file was selected. Exiting.\n",
    ),
    (
        "context-exceeded",
        "Traceback (most recent call last):\nValueError: Prompt exceeds n_ctx: 5120 > 4096\n",
    ),
    (
        "grammar-invalid",
        "Traceback (most recent call last):\nRuntimeError: expecting '::=' at  root - \"a\"\n",
    ),
    (
        "decode-failed",
        '10:01AM ERR Server error error="inference error: the moon is full" ip=172.17.0.1 '
        "latency=1.2s method=POST status=500 url=/v1/chat/completions\n",
    ),
    (
        "port-taken",
        "Error: Could not allocate a free port for llama-cpp\n",
    ),
    (
        "gpu-not-schedulable",
        "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes are "
        "available: 2 No preemption victims found for incoming pod..\n",
    ),
]

ADVICE = (
    "main: hint: use --no-mmap if you run out of memory",
    "large batch sizes may cause out of memory on small GPUs",
    "set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid out of memory",
    "try reducing --n-gpu-layers if you're running out of VRAM",
    "reduce --contextsize in case of insufficient memory",
)
"""What programs advise for a case that has not happened."""


@pytest.mark.parametrize(("cause", "log"), WORDINGS, ids=lambda value: value[:30])
def test_the_root_is_named_first(cause, log):
    *_, report = diagnose_chunks([log.encode()])

    assert isinstance(report, LogReport)
    assert [found.id for found in report.diagnoses][:1] == [cause]


@pytest.mark.parametrize("line", ADVICE, ids=lambda value: value[:30])
def test_advice_for_a_failure_is_no_failure(line):
    *_, report = diagnose_chunks([f"{line}\n".encode()])

    assert isinstance(report, LogReport)
    assert report.diagnoses == ()
