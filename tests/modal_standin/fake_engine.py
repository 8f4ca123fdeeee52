"""Stands in for llama-server in tests of faults: serves, or fails as the real one does.

The lines are those of real runs. What to do is in STANDIN_SCENARIO.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SCENARIO = os.environ.get("STANDIN_SCENARIO", "healthy")
KEY = os.environ.get("LLAMA_API_KEY", "")

FATAL = {
    "oom-weights": (
        [
            "0.01.200.000 E ggml_backend_cuda_buffer_type_alloc_buffer: "
            "allocating 20480.00 MiB on device 0: cudaMalloc failed: out of memory",
            "0.01.200.100 E alloc_tensor_range: "
            "failed to allocate CUDA0 buffer of size 21474836480",
            "0.01.200.200 E llama_model_load: error loading model: unable to allocate CUDA0 buffer",
            "0.01.300.000 E srv    load_model: failed to load model, 'model.gguf'",
            "0.01.300.100 E srv  llama_server: exiting due to model loading error",
        ],
        1,
    ),
    "oom-kv": (
        [
            "0.02.000.000 I llama_context: constructing llama_context",
            "0.02.100.000 E ggml_backend_cuda_buffer_type_alloc_buffer: "
            "allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory",
            "0.02.200.000 E llama_init_from_model: failed to initialize the context: "
            "failed to allocate buffer for kv cache",
            "0.02.300.000 E srv  llama_server: exiting due to model loading error",
        ],
        1,
    ),
    "oom-compute": (
        [
            "0.02.100.000 E ggml_gallocr_reserve_n_impl: "
            "failed to allocate CUDA0 buffer of size 1073741824",
            "0.02.200.000 E graph_reserve: failed to allocate compute buffers",
            "0.02.200.100 E llama_init_from_model: failed to initialize the context: "
            "failed to allocate compute pp buffers",
            "0.02.300.000 E srv  llama_server: exiting due to model loading error",
        ],
        1,
    ),
    "oom-bare": (
        [
            "0.01.200.000 E ggml_backend_cuda_buffer_type_alloc_buffer: "
            "allocating 20480.00 MiB on device 0: cudaMalloc failed: out of memory",
        ],
        1,
    ),
    "crash": (["0.00.100.000 I srv  llama_server: loading model"], 139),
    "unknown-model": (
        [
            "0.00.100.000 E llama_model_load: error loading model: "
            "error loading model architecture: unknown model architecture: 'nonesuch'",
            "0.00.200.000 E srv  llama_server: exiting due to model loading error",
        ],
        1,
    ),
}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _is_allowed(self) -> bool:
        return not KEY or self.headers.get("Authorization") == f"Bearer {KEY}"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, {"status": "ok"})
        elif not self._is_allowed() and SCENARIO != "taciturn":
            self._answer(401, {"error": {"message": "Invalid API Key", "code": 401}})
        else:
            self._answer(200, {"data": []})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if SCENARIO == "oom-runtime":
            say("0.02.400.000 E CUDA error: out of memory")
            say("0.02.400.100 E   current device: 0, in function alloc at ggml-cuda.cu:544")
            os.kill(os.getpid(), 6)
        if SCENARIO in ("chats-only", "taciturn") and self.path != "/v1/chat/completions":
            self._answer(404, {"error": {"message": "File Not Found", "code": 404}})
            return
        if not self._is_allowed():
            self._answer(401, {"error": {"message": "Invalid API Key", "code": 401}})
            return
        if self.path == "/v1/chat/completions":
            message = {"role": "assistant", "content": " world"}
            self._answer(200, {"choices": [{"message": message, "finish_reason": "length"}]})
            return
        self._answer(200, {"choices": [{"text": " world"}], "usage": {"completion_tokens": 1}})


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print("version: 11434 (stand-in)")
        return
    port = int(arguments[arguments.index("--port") + 1])
    say("build_info: b11434-stand-in")
    if SCENARIO in FATAL:
        lines, code = FATAL[SCENARIO]
        for line in lines:
            say(line)
        if code > 128:
            os.kill(os.getpid(), code - 128)
        sys.exit(code)
    if SCENARIO == "killed":
        os.kill(os.getpid(), 9)
    if SCENARIO == "slow":
        say("0.00.100.000 I srv    load_model: loading model 'model.gguf'")
        time.sleep(3600)
    if SCENARIO != "cpu-fallback":
        say("0.00.300.000 I load_tensors: offloaded 999/999 layers to GPU")
    else:
        say("0.00.300.000 I load_tensors: offloaded 0/31 layers to GPU")
    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    if SCENARIO != "taciturn":
        say("0.00.400.000 I srv  llama_server: model loaded")
    server.serve_forever()


if __name__ == "__main__":
    main()
