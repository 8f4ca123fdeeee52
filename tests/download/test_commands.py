"""`ggufctl download` and `ggufctl models` as a user meets them: output, exit codes, signals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

import ggufs
import serving
from fakehub import FakeFile, Fault
from ggufctl.documents.models import DownloadDocument, ModelsDocument

REPO = "acme/Tiny-GGUF"
RAW = ggufs.whole(*ggufs.llama())
LARGE = FakeFile.whole(RAW + bytes(6 << 20))


@pytest.fixture
def run(tmp_path, hub):
    """Runs one command in a home of its own."""
    home = {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.url,
        "GGUFCTL_CACHE_DIR": str(tmp_path / "cache"),
    }

    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return serving.ggufctl(*arguments, state=tmp_path / "state", **{**home, **more})

    call.environment = serving.environment(tmp_path / "state", **home)
    return call


@pytest.fixture
def repo(hub):
    return hub.add(
        REPO,
        {
            "Tiny-Q8_0.gguf": FakeFile.whole(RAW),
            "Tiny-Q4_K_M.gguf": FakeFile.whole(RAW + b"4"),
            "large-Q6_K.gguf": LARGE,
            "mmproj-F16.gguf": FakeFile.whole(b"GGUF" + bytes(100)),
        },
    )


def test_a_dry_run_says_files_bytes_room_and_place_and_fetches_nothing(run, hub, repo, tmp_path):
    found = run(
        "download", f"{REPO}:Q4_K_M", "--to", str(tmp_path / "to"), "--include", "mmproj",
        "--dry-run", "--json",
    )  # fmt: skip

    assert found.returncode == 0
    document = DownloadDocument.model_validate_json(found.stdout)
    assert [file.path for file in document.files] == ["Tiny-Q4_K_M.gguf", "mmproj-F16.gguf"]
    assert document.is_dry_run
    assert document.download_bytes == document.size_bytes == len(RAW) + 1 + 104
    assert document.room_bytes
    assert document.where == str(tmp_path / "to")
    assert document.commit == repo.commit
    assert hub.n_file_bytes() == 0
    assert not (tmp_path / "to").exists()


def test_a_download_says_every_tenth_in_a_log_and_ends_with_json(run, repo):
    found = run("download", f"{REPO}:Q6_K", "--to", "local", "--json")

    assert found.returncode == 0
    document = DownloadDocument.model_validate_json(found.stdout)
    assert document.files[0].location
    assert os.path.getsize(document.files[0].location) == LARGE.size
    lines = found.stderr.splitlines()
    assert lines[0].startswith("large-Q6_K.gguf: ")
    assert lines[-1] == f"100% of {LARGE.size / 1e6:.2f} MB"


def test_quiet_is_silent(run, repo):
    found = run("download", f"{REPO}:Q8_0", "--to", "local", "-q")

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_in_a_pipe_the_files_come_as_tab_separated_values(run, repo):
    found = run("download", f"{REPO}:Q8_0", "--to", "local")

    header, row = found.stdout.splitlines()
    assert header == "path\tsize_bytes\twas_present\tlocation"
    assert row.split("\t")[:3] == ["Tiny-Q8_0.gguf", str(len(RAW)), "no"]


def test_a_person_sees_bars(run, repo, hub):
    hub.seconds_per_chunk = 0.005
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ggufctl", "download", f"{REPO}:Q6_K", "--to", "local"],
        env=run.environment | {"TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:
            break
        shown += piece
        if not piece:
            break
    os.close(leader)

    assert process.wait(30) == 0
    text = shown.decode()
    assert "large-Q6_K.gguf" in text
    assert "MB/s" in text
    assert "left" in text


@pytest.mark.parametrize(
    ("options", "token", "code", "words"),
    [
        ({"token": "hf_good"}, "", 4, "is gated"),
        ({"token": "hf_good"}, "hf_other", 4, "was not let in"),
        ({"token": "hf_good", "private": True}, "", 3, "There is no repository"),
        ({"disabled": True}, "", 4, "disabled"),
        ({}, "hf_bad", 4, "refuses the token"),
    ],
)
def test_what_may_not_be_had_has_its_sentence_and_code(run, hub, options, token, code, words):
    hub.add("acme/Closed-GGUF", {"c-Q8_0.gguf": FakeFile.whole(RAW)}, **options)
    more = {"HF_TOKEN": token} if token else {}

    found = run("download", "acme/Closed-GGUF:Q8_0", "--to", "local", "-q", **more)

    assert found.returncode == code
    assert words in found.stderr
    assert "hint: " in found.stderr
    assert not token or token not in found.stderr


def test_a_missing_repository_offers_what_is_like_it(run, repo):
    found = run("download", "acme/Tiny-GGUFF:Q8_0", "--to", "local")

    assert found.returncode == 3
    assert REPO in found.stderr


def test_a_renamed_repository_is_found_under_its_new_name(run, hub, repo):
    hub.renamed["old/Tiny-GGUF"] = REPO

    found = run("download", "old/Tiny-GGUF:Q8_0", "--to", "local", "--json")

    assert found.returncode == 0
    assert json.loads(found.stdout)["repo"] == REPO


def test_offline_what_is_there_can_be_used_and_the_rest_is_said(run, hub, repo):
    run("download", f"{REPO}:Q8_0", "--to", "local", "-q")
    n_requests = len(hub.log)

    there = run("download", f"{REPO}:Q8_0", "--to", "local", "-q", HF_HUB_OFFLINE="1")
    absent = run("download", f"{REPO}:Q6_K", "--to", "local", "-q", HF_HUB_OFFLINE="1")

    assert (there.returncode, absent.returncode) == (0, 8)
    assert "Offline mode is on" in absent.stderr
    assert len(hub.log) == n_requests


def test_without_a_token_of_modals_this_machine_is_offered(run, repo):
    down = run("download", f"{REPO}:Q8_0")
    listed = run("models", "ls")

    assert (down.returncode, listed.returncode) == (4, 4)
    assert "--to local" in down.stderr
    assert "--on local" in listed.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_goes_on_where_it_was(run, hub, repo, tmp_path, number):
    hub.seconds_per_chunk = 0.01
    argv = [sys.executable, "-m", "ggufctl", "download", f"{REPO}:Q6_K", "--to", str(tmp_path)]
    before = hub.n_sent
    process = subprocess.Popen(argv, env=run.environment, stderr=subprocess.PIPE, text=True)
    while hub.n_sent - before < 2 << 20:
        time.sleep(0.005)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    hub.seconds_per_chunk = 0.0

    again = run("download", f"{REPO}:Q6_K", "--to", str(tmp_path))

    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert again.returncode == 0
    assert (tmp_path / "large-Q6_K.gguf").read_bytes() == LARGE.head
    assert "are there" in again.stderr


def test_wrong_content_exits_with_6_and_leaves_nothing(run, hub, repo, tmp_path):
    hub.faults["Tiny-Q8_0.gguf"] = [Fault(flip_at=1000) for _ in range(3)]

    found = run("download", f"{REPO}:Q8_0", "--to", str(tmp_path / "to"), "-q")

    assert found.returncode == 6
    assert not list((tmp_path / "to").glob("*.gguf"))


def test_models_are_listed_shown_verified_pruned_and_removed(run, repo):
    for quant in ("Q8_0", "Q4_K_M"):
        run("download", f"{REPO}:{quant}", "--to", "local", "-q")

    listed = run("models", "ls", "--on", "local")
    document = run("models", "ls", "--on", "local", "--json")
    shown = run("models", "show", f"{REPO}:Q8_0", "--on", "local")
    verified = run("models", "verify", "--on", "local", "-q")
    refused = run("models", "prune", "--on", "local")
    dry = run("models", "prune", "--on", "local", "--dry-run")
    pruned = run("models", "prune", "--on", "local", "--yes", "--json")
    removed = run("models", "rm", REPO, "--on", "local", "--yes")
    nothing = run("models", "rm", REPO, "--on", "local", "--yes")

    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        [f"{REPO}:Q8_0", "verified", str(len(RAW))],
        [f"{REPO}:Q4_K_M", "verified", str(len(RAW) + 1)],
    ]
    kept = ModelsDocument.model_validate_json(document.stdout)
    assert [model.quant for model in kept.models] == ["Q8_0", "Q4_K_M"]
    assert repo.files["Tiny-Q8_0.gguf"].sha256 in shown.stdout
    assert verified.stdout.splitlines() == [
        f"PASS\t{REPO}:Q8_0\tverified",
        f"PASS\t{REPO}:Q4_K_M\tverified",
    ]
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert dry.returncode == 0
    assert f"frees    {(len(RAW) + 1) / 1e6:.2f} MB" in dry.stderr
    after = ModelsDocument.model_validate_json(pruned.stdout)
    assert [model.quant for model in after.models] == ["Q8_0"]
    assert [model.quant for model in after.removed] == ["Q4_K_M"]
    assert after.freed_bytes == len(RAW) + 1
    assert removed.returncode == 0
    assert nothing.returncode == 3


def test_verify_fails_with_11_and_says_which(run, repo, tmp_path):
    folder = tmp_path / "to"
    run("download", f"{REPO}:Q8_0", "--to", str(folder), "-q")
    with open(folder / "Tiny-Q8_0.gguf", "r+b") as file:
        file.write(b"X")

    found = run("models", "verify", "--on", str(folder), "-q")

    assert found.returncode == 11
    assert found.stdout == f"FAIL\t{REPO}:Q8_0\tdiffers\n"
    assert "ggufctl download" in found.stderr


def test_a_folder_that_is_not_there_is_no_store(run, tmp_path):
    found = run("models", "ls", "--on", str(tmp_path / "none"))

    assert found.returncode == 2
    assert "neither a store nor a folder" in found.stderr
