"""`ggufctl diagnose` as scripts and people use it."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import ggufctl
from ggufctl.core.ggml.cuda import ADA_LOVELACE
from ggufctl.documents.diagnose import DiagnoseDocument
from ggufctl.services.diagnose import capability_of, diagnose_log
from ggufctl.services.doctor import run_doctor
from ggufs import header, llama, write

LOGS = Path(__file__).parent.parent / "logs"
SOURCE = str(Path(ggufctl.__file__).parent.parent)


def run(
    folder: Path, *arguments: str, stdin: bytes = b"", **more: str
) -> subprocess.CompletedProcess[bytes]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": SOURCE,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "MODAL_SERVER_URL": "http://127.0.0.1:9",
        **more,
    }
    return subprocess.run(
        [sys.executable, "-m", "ggufctl", "diagnose", *arguments],
        input=stdin,
        capture_output=True,
        env=environment,
        check=False,
        timeout=120,
    )


def document(done: subprocess.CompletedProcess[bytes]) -> DiagnoseDocument:
    return DiagnoseDocument.model_validate_json(done.stdout)


def test_a_log_with_a_cause_exits_with_0_and_names_it_first(tmp_path):
    done = run(tmp_path, str(LOGS / "truncated.log"))

    assert done.returncode == 0
    assert done.stdout.startswith(b"cause: The model file ends too early")
    assert b"fix: " in done.stdout
    assert done.stderr == b""


def test_a_healthy_log_exits_with_10_and_says_what_it_shows(tmp_path):
    done = run(tmp_path, str(LOGS / "healthy.log"))

    assert done.returncode == 10
    assert done.stdout.startswith(b"Nothing wrong found.")
    assert b"tokens/s" in done.stdout


def test_a_log_from_a_pipe_is_told_about_while_it_is_read(tmp_path):
    done = run(tmp_path, "-", "--json", stdin=(LOGS / "port-taken.log").read_bytes())

    assert done.returncode == 0
    assert b"The port is taken" in done.stderr
    (first, *_) = document(done).diagnoses
    assert first.id == "port-taken"
    assert first.evidence[0].line > 0


def test_the_document_of_a_healthy_log_blames_nothing(tmp_path):
    done = run(tmp_path, str(LOGS / "healthy.log"), "--json")

    found = document(done)
    assert (done.returncode, found.diagnoses) == (10, [])
    assert json.loads(done.stdout)["facts"]["architecture"] == "llama"


def test_a_model_is_checked(tmp_path):
    done = run(tmp_path, str(write_model(tmp_path)), "--json")

    found = document(done)
    assert (done.returncode, found.kind) == (0, "model")
    assert "chat-template" in [remark.id for remark in found.remarks]


def test_a_broken_model_exits_with_11(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"<!DOCTYPE html>")
    done = run(tmp_path, str(path))

    assert done.returncode == 11
    assert done.stdout.startswith(b"FAIL")


def test_a_model_that_is_not_there_exits_with_3(tmp_path):
    assert run(tmp_path, "./nothing.gguf").returncode == 3


def test_a_log_that_is_not_there_is_said_to_be_missing(tmp_path):
    done = run(tmp_path, "server.log")

    assert done.returncode == 2
    assert b"There is no file 'server.log'." in done.stderr


def test_the_machine_is_checked_with_nothing_installed_or_reachable(tmp_path):
    done = run(tmp_path, "--json")

    found = document(done)
    assert found.kind == "machine"
    assert {"python", "gpu", "memory", "disk", "hub", "prices"} <= {c.id for c in found.checks}
    assert done.returncode == (11 if found.diagnoses else 0)


def test_checks_keep_their_deadline_when_nobody_answers(tmp_path, monkeypatch):
    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(30)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")

    checks = run_doctor(tmp_path / "config.toml", 0.3)

    server.shutdown()
    server.server_close()
    assert "longer than 0.3 s" in next(c.text for c in checks if c.id == "hub")


@pytest.mark.parametrize(("status", "word"), [(200, "PASS"), (401, "FAIL")])
def test_the_token_of_the_hub_is_tried_and_never_shown(tmp_path, monkeypatch, status, word):
    seen = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers["Authorization"])
            body = b'{"name": "me"}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)

    checks = run_doctor(tmp_path / "config.toml", 10)

    server.shutdown()
    server.server_close()
    (token,) = [check for check in checks if check.id == "hub-token"]
    assert token.status.value == word
    assert seen == ["Bearer hf_" + "x" * 34]
    assert "xxxx" not in repr(checks)


def test_a_config_file_that_is_broken_fails(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("a = [")

    checks = run_doctor(path, 5)

    assert [c.status.value for c in checks if c.id == "config"] == ["FAIL"]


def test_what_fits_comes_from_the_planner_where_the_model_can_be_read(tmp_path):
    path = write_model(tmp_path)
    log = (
        f"llama_model_loader: loaded meta data with 1 key-value pairs and 1 tensors from {path} "
        "(version GGUF V3 (latest))\n"
        "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA A10) (0000:00) - 1024 MiB "
        "free\n"
        "llama_context: n_ctx         = 1048576\nllama_context: n_seq_max     = 1\n"
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: "
        "cudaMalloc "
        "failed: out of memory\n"
        "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv "
        "cache\n"
    )
    report = diagnose_log([log.encode()], model=str(path))

    assert report.diagnoses[0].fix[0].endswith("would fit, by the plan of this model.")


@pytest.mark.parametrize(
    ("lines", "capability"),
    [
        ("  Device 0: Tesla T4, compute capability 7.5, VMM: yes, VRAM: 14912 MiB\n", (7, 5)),
        ("llama_x: using device CUDA0 (NVIDIA A10) (0000:00) - 1024 MiB free\n", (8, 6)),
        ("llama_x: using device CUDA0 (Some Card) (0000:00) - 1024 MiB free\n", ADA_LOVELACE),
        ("  Device 0: Odd, compute capability 7.5.1.2, VMM: yes\n", (7, 5)),
        ("  Device 0: Odd, compute capability ..., VMM: yes\n", ADA_LOVELACE),
    ],
)
def test_a_log_is_planned_for_the_generation_of_its_card(lines, capability):
    facts = diagnose_log([lines.encode()]).facts

    assert capability_of("CUDA0", facts) == capability


def write_model(folder: Path) -> Path:
    raw, size = header(*llama())
    return write(folder / "m.gguf", raw, size)
