"""The Modal app of a deployment as a file of its own, for people who want to own it."""

from __future__ import annotations

import pprint
import shlex
import sys

from ggufctl.core.deployment import SERVER_NAME, DeploymentSpec
from ggufctl.core.launch import KEY_VARIABLE

__all__ = ["emit"]

_HEAD = '''\
"""{title}

Written by ggufctl; it needs nothing but `pip install modal`.

{steps}
    modal deploy {file}            # a server that costs nothing while nobody asks it
"""

import hashlib
import os
import pathlib
import subprocess
import time
import urllib.request

import modal

PORT = {port}
STARTUP_TIMEOUT = {startup_timeout}  # seconds: from the {gigabytes:.1f} GB to be read
READY_PATH = {ready_path!r}
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

_START = """

def start_engine():
    for path, (size, _) in FILES.items():
        found = (pathlib.Path(FOLDER) / path).stat().st_size
        if found != size:
            raise RuntimeError(f"{{path}} has {{found}} bytes on the Volume, not {{size}}")
{require_key}    env = {engine_env}
    return subprocess.Popen(ARGUMENTS, env=env{session})


def wait_until_healthy(process):
    deadline = time.monotonic() + {deadline}
    request = urllib.request.Request(f"http://127.0.0.1:{{PORT}}{{READY_PATH}}")
    request.add_header("Authorization", f"Bearer {{os.environ.get({key_variable!r}, '')}}")
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the engine ended with exit code {{process.returncode}}")
        try:
            with urllib.request.urlopen(request, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("the engine was not ready in time")
"""

_SERVER = """

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
{more})
class Llama:
    @modal.enter({snap})
    def start(self):
        self.process = start_engine()
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
{more})
@modal.concurrent(max_inputs={max_inputs!r}, target_inputs={slots!r})
@modal.web_server(PORT, startup_timeout=STARTUP_TIMEOUT, requires_proxy_auth={proxy!r})
def llama():
    wait_until_healthy(start_engine())
"""

_REQUIRE_KEY = f"""\
    if not os.environ.get("{KEY_VARIABLE}"):
        raise RuntimeError("the Secret holds no key: anybody could use the server")
"""
_ENGINE_ENV_OF_PYTHON = f'os.environ | {{"API_KEY": os.environ["{KEY_VARIABLE}"]}}'

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
        "steps": "\n".join(f"    {step}" for step in _steps(spec)),
        "ready_path": "/v1/models" if is_python else "/health",
        "deadline": spec.deadline,
        "key_variable": KEY_VARIABLE,
        "require_key": _REQUIRE_KEY if spec.secret else "",
        "engine_env": _ENGINE_ENV_OF_PYTHON if is_python and spec.secret else "os.environ",
        # A web function has no exit of its own: its engine ends with its process group.
        "session": "" if spec.hold_requests else ", start_new_session=True",
        "more": _more(spec),
        "snap": "snap=True" if spec.snapshot else "",
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
    head = _HEAD
    if not spec.repo:
        head = head.replace("import hashlib\n", "")
    shape = _WEB if spec.hold_requests else _SERVER
    parts = [head, *([_DOWNLOAD] if spec.repo else []), _START, shape]
    return "".join(part.format(**values) for part in parts)


def _steps(spec: DeploymentSpec) -> list[str]:
    """What is done once, before the app is deployed; a key is never an argument of a program."""
    steps = []
    if spec.secret:
        steps += [
            f'(umask 077; printf \'{{"{KEY_VARIABLE}": "%s"}}\' '
            "$(openssl rand -hex 32) > key.json)",
            f"modal secret create {spec.secret} --from-json key.json",
        ]
    if spec.repo:
        steps.append("modal run app.py::download     # the weights, once, on a CPU")
    else:
        steps.append(f"modal volume create --version=2 {spec.volume}     # if there is none")
        steps += [
            f"modal volume put {spec.volume} {shlex.quote(file.path)} "
            f"{shlex.quote(f'/{spec.folder}/{file.path}')}"
            for file in spec.files
        ]
    return [step.replace("\\", "\\\\").replace('"""', "") for step in steps]


def _more(spec: DeploymentSpec) -> str:
    """Arguments that few deployments have."""
    lines = ""
    if spec.region:
        name = "region" if spec.hold_requests else "compute_region"
        lines += f"    {name}={spec.region!r},\n"
    if spec.snapshot:
        lines += "    enable_memory_snapshot=True,\n"
        lines += '    experimental_options={"enable_gpu_snapshot": True},\n'
    return lines


def _literal(value: object) -> str:
    return pprint.pformat(value, width=88, sort_dicts=False)


def _image(spec: DeploymentSpec, python: str) -> str:
    if spec.engine == "llama-cpp-python":
        return (
            "(\n"
            f'    modal.Image.from_registry("nvidia/cuda:12.4.1-runtime-ubuntu22.04", '
            f"add_python={python!r})\n"
            "    .entrypoint([])\n"
            '    .apt_install("libgomp1")\n'
            '    .pip_install(\n        "llama-cpp-python[server]",\n'
            '        extra_index_url="https://abetlen.github.io/llama-cpp-python/whl/cu124",\n'
            '        extra_options="--only-binary=llama-cpp-python",\n'
            "    )\n"
            f"    .env({dict(spec.env)!r})\n)"
        )
    env = f".env({dict(spec.env)!r})" if spec.env else ""
    return (
        f"modal.Image.from_registry(\n    {spec.image!r}, add_python={python!r}\n)"
        f".entrypoint([]){env}"
    )
