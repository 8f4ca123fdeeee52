"""The Modal app of a deployment as a file of its own, for people who want to own it."""

from __future__ import annotations

import pprint
import sys

from ggufctl.core.deployment import SERVER_NAME, DeploymentSpec
from ggufctl.core.launch import KEY_VARIABLE

__all__ = ["emit"]

_HEAD = '''\
"""{title}

Written by ggufctl; it needs nothing but `pip install modal`.

    {key_step}modal run {file}::download     # the weights, once, on a CPU
    modal deploy {file}            # a server that costs nothing while nobody asks it
"""

import hashlib
import os
import pathlib
import subprocess
import time
import urllib.error
import urllib.request

import modal

PORT = {port}
STARTUP_TIMEOUT = {startup_timeout}  # seconds: from the {gigabytes:.1f} GB to be read
FOLDER = {folder!r}
REPO, COMMIT = {repo!r}, {commit!r}
FILES = {files}  # size and sha256 of each
ARGUMENTS = {arguments}

app = modal.App({app!r}, tags={tags})
volume = modal.Volume.from_name({volume!r}, create_if_missing=True, version=2)
image = {image}
'''

_DOWNLOAD = """

@app.function(
    image=modal.Image.debian_slim(python_version={python!r}).pip_install("huggingface_hub"),
    volumes={{{mount!r}: volume}},
    timeout=86_000,
    # For a gated model, add: secrets=[modal.Secret.from_name("huggingface")]
)
def download():
    from huggingface_hub import hf_hub_download

    for path, (size, sha256) in FILES.items():
        final = pathlib.Path(FOLDER) / path
        if final.is_file() and final.stat().st_size == size:
            continue
        found = hf_hub_download(REPO, path, revision=COMMIT, local_dir=f"{{FOLDER}}/.partial")
        with open(found, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if os.path.getsize(found) != size or sha256 not in ("", digest):
            raise RuntimeError(f"{{path}} is not what the Hub says it is")
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(found, final)
    volume.commit()
"""

_SERVER = """

def wait_until_healthy(process):
    deadline = time.monotonic() + STARTUP_TIMEOUT - 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the engine ended with exit code {{process.returncode}}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{{PORT}}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError("the engine was not ready in time")


@app.server(
    name={server!r},
    image=image,
    gpu={gpus!r},  # in the order to try
    cpu={cpu!r},
    memory={memory!r},
    volumes={{{mount!r}: volume.with_mount_options(read_only=True)}},
    secrets={secrets},
    port=PORT,
    unauthenticated={unauthenticated!r},  # {auth_note}
    startup_timeout=STARTUP_TIMEOUT,
    scaledown_window={scaledown!r},
    max_containers={max_containers!r},
    target_concurrency={slots!r},
    exit_grace_period={grace!r},
)
class Llama:
    @modal.enter()
    def start(self):
        self.process = subprocess.Popen(ARGUMENTS, start_new_session=True)
        wait_until_healthy(self.process)

    @modal.exit()
    def stop(self):
        self.process.terminate()
        try:
            self.process.wait({child_grace!r})
        except subprocess.TimeoutExpired:
            self.process.kill()
"""

_WEB = """

@app.function(
    name={server!r},
    image=image,
    gpu={gpus!r},  # in the order to try
    cpu={cpu!r},
    memory={memory!r},
    volumes={{{mount!r}: volume.with_mount_options(read_only=True)}},
    secrets={secrets},
    timeout=3600,
    startup_timeout=STARTUP_TIMEOUT,
    scaledown_window={scaledown!r},
    max_containers={max_containers!r},
)
@modal.concurrent(max_inputs={max_inputs!r}, target_inputs={slots!r})
@modal.web_server(PORT, startup_timeout=STARTUP_TIMEOUT, requires_proxy_auth={proxy!r})
def llama():
    subprocess.Popen(ARGUMENTS)
"""

_AUTH_NOTES = {
    "key": "the engine asks for its own key, which is in the Secret",
    "proxy": "Modal asks for its proxy tokens",
    "none": "ANYBODY can use this server and spend your money",
}


def emit(spec: DeploymentSpec) -> str:
    """Python source of an equivalent app; Modal's client is all it needs, no secret is in it."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    is_python = spec.engine == "llama-cpp-python"
    program = ["python", "-m", "llama_cpp.server"] if is_python else ["/app/llama-server"]
    values = {
        "title": f"{spec.alias} on Modal: {', '.join(spec.gpus) or 'CPU'}.",
        "file": "app.py",
        "key_step": (
            f"modal secret create {spec.secret} {KEY_VARIABLE}=$(openssl rand -hex 32)\n    "
            if spec.secret
            else ""
        ),
        "port": spec.port,
        "startup_timeout": spec.startup_timeout,
        "gigabytes": spec.size_bytes / 1e9,
        "folder": f"{spec.mount_path}/{spec.folder}",
        "repo": spec.repo,
        "commit": spec.commit,
        "files": _literal({file.path: (file.size_bytes, file.sha256) for file in spec.files}),
        "arguments": _literal([*program, *spec.argv]),
        "app": spec.app,
        "tags": _literal(spec.tags),
        "volume": spec.volume,
        "image": _image(spec, python),
        "python": python,
        "mount": spec.mount_path,
        "server": SERVER_NAME,
        "gpus": list(spec.gpus) or None,
        "cpu": spec.cpu,
        "memory": spec.memory_mib,
        "secrets": (
            f"[modal.Secret.from_name({spec.secret!r}, required_keys=[{KEY_VARIABLE!r}])]"
            if spec.secret
            else "[]"
        ),
        "unauthenticated": spec.auth != "proxy",
        "proxy": spec.auth == "proxy",
        "auth_note": _AUTH_NOTES[spec.auth],
        "scaledown": spec.scaledown_window,
        "max_containers": spec.max_containers,
        "slots": spec.slots,
        "max_inputs": 4 * spec.slots,
        "grace": spec.exit_grace,
        "child_grace": max(1, spec.exit_grace - 5),
    }
    parts = [_HEAD, *([_DOWNLOAD] if spec.repo else []), _WEB if spec.hold_requests else _SERVER]
    return "".join(part.format(**values) for part in parts)


def _literal(value: object) -> str:
    return pprint.pformat(value, width=88, sort_dicts=False)


def _image(spec: DeploymentSpec, python: str) -> str:
    if spec.engine == "llama-cpp-python":
        return (
            "(\n"
            f'    modal.Image.from_registry("nvidia/cuda:12.4.1-runtime-ubuntu22.04", '
            f"add_python={python!r})\n"
            "    .entrypoint([])\n"
            '    .pip_install(\n        "llama-cpp-python[server]",\n'
            '        extra_index_url="https://abetlen.github.io/llama-cpp-python/whl/cu124",\n'
            "    )\n"
            f"    .env({dict(spec.env)!r})\n)"
        )
    env = f".env({dict(spec.env)!r})" if spec.env else ""
    return (
        f"modal.Image.from_registry(\n    {spec.image!r}, add_python={python!r}\n)"
        f".entrypoint([]){env}"
    )
