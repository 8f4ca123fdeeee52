"""Logs that were compressed before they were handed over."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ggufctl.errors import UsageError
from ggufctl.services.diagnose import diagnose_log
from ggufctl.services.packed import read_chunks
from tests.diagnose.test_command import SOURCE, run, write_model

LOG = Path(__file__).parent.parent / "serve" / "logs" / "oom_kv.log"
RAW = LOG.read_bytes()
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


class Trickle(io.RawIOBase):
    """Gives one byte after the other, as a slow pipe may."""

    def __init__(self, raw: bytes) -> None:
        self._raw = io.BytesIO(raw)

    def read(self, size: int = -1) -> bytes:
        return self._raw.read(1 if size else 0)


@pytest.mark.parametrize("ending", PACKERS)
def test_a_packed_log_is_read_as_it_was(ending):
    packed = PACKERS[ending](RAW)

    assert b"".join(read_chunks(io.BytesIO(packed))) == RAW
    assert b"".join(read_chunks(Trickle(packed))) == RAW
    assert b"".join(read_chunks(io.BytesIO(packed + packed))) == RAW * 2


@pytest.mark.parametrize("raw", [b"", b"P", b"PK", b"\x1f", b"\x1f\x8b", b"BZ is a word\n", RAW])
def test_what_is_not_packed_is_left_as_it_is(raw):
    assert b"".join(read_chunks(io.BytesIO(raw))) == raw
    assert b"".join(read_chunks(Trickle(raw[:500]))) == raw[:500]


def test_the_first_word_of_a_log_that_is_being_written_is_not_waited_behind():
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as source:
        source.write(b"a\n")

        assert next(read_chunks(stream)) == b"a\n"


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"\x28\xb5\x2f\xfd" + bytes(9), "zstd"),
        (b"PK\x03\x04" + bytes(9), "zip"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(9), "7z"),
        (gzip.compress(RAW)[:-8] + bytes(8), "cannot be unpacked"),
        (lzma.compress(RAW)[:200] + b"\xff" * 200, "cannot be unpacked"),
        (bz2.compress(RAW)[:200] + b"\xff" * 200, "cannot be unpacked"),
    ],
)
def test_what_cannot_be_unpacked_is_said_and_not_taken_for_a_healthy_log(raw, word):
    with pytest.raises(UsageError, match=word):
        list(read_chunks(io.BytesIO(raw)))


def test_a_packed_log_without_its_end_is_read_so_far_and_said():
    said: list[str] = []
    found = b"".join(read_chunks(io.BytesIO(gzip.compress(RAW)[:-400]), said.append))

    assert RAW.startswith(found)
    assert found
    assert said == ["The packed log has no end: it was cut off, or is still being written."]


def test_a_rotated_log_is_diagnosed(tmp_path):
    (tmp_path / "server.log.1.gz").write_bytes(gzip.compress(RAW))

    found = run(tmp_path, str(tmp_path / "server.log.1.gz"))

    assert found.returncode == 0
    assert b"[oom-kv]" in found.stdout


def test_a_log_that_is_watched_is_told_of_when_somebody_ends_it(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "ggufctl", "diagnose", "-"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": SOURCE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Under nohup the tests themselves may take no notice of it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(RAW)
    process.stdin.flush()
    announced = process.stderr.readline()
    idle = 0
    while idle < 5:
        # It waits for more of the log, and works no longer on what came.
        time.sleep(0.1)
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        idle = idle + 1 if state == "S" else 0
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)

    assert b"does not fit" in announced
    assert process.returncode == 130
    assert b"[oom-kv]" in said
    assert b"  fix: " in said


def test_of_several_logs_it_is_said_how_they_are_read(tmp_path):
    found = run(tmp_path, str(LOG), str(LOG))

    assert found.returncode == 2
    assert b"2 targets are named, and one is diagnosed at a time." in found.stderr
    assert b"| ggufctl diagnose -" in found.stderr


def test_a_model_that_cannot_be_read_is_said_and_the_log_diagnosed(tmp_path):
    found = run(tmp_path, str(LOG), "--model", "nope.gguf")

    assert found.returncode == 0
    assert found.stderr == (
        b"note: Nothing is planned for 'nope.gguf': There is no file 'nope.gguf'.\n"
    )
    assert run(tmp_path, str(LOG), "--model", "nope.gguf", "-q").stderr == b""


def test_without_a_gpu_what_fits_the_host_is_planned(tmp_path):
    model = str(write_model(tmp_path))
    tight = RAW.replace(b"24105 MiB free", b"600 MiB free")
    said: list[str] = []

    found = diagnose_log([tight], model=model, on_note=said.append)

    assert found.diagnoses[0].fix[0].endswith("would fit, by the plan of this model.")
    assert said == []


def test_what_fits_by_the_plan_and_did_not_is_no_advice(tmp_path):
    model = str(write_model(tmp_path))
    said: list[str] = []

    found = diagnose_log([RAW], model=model, on_note=said.append)

    assert not any("by the plan of this model" in text for text in found.diagnoses[0].fix)
    (text,) = said
    assert "look for a limit" in text


@pytest.mark.parametrize(
    "raw",
    [
        b"GGUF\x03\0\0\0",
        b"\x7fELF\x02\x01",
        b'\x10\x20\0\0\0\0\0\0{"__metadata__": {}}',
        bytes(range(256)) * 8,
    ],
    ids=["gguf", "elf", "safetensors", "bytes"],
)
def test_what_is_no_text_is_no_log(raw):
    with pytest.raises(UsageError, match="That is no log"):
        list(read_chunks(io.BytesIO(raw)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "cp1252"])
def test_text_in_any_encoding_is_a_log(encoding):
    raw = (RAW.decode() + "\x1b[31mNicht verf\xfcgbar\x1b[0m\r\n").encode(encoding, "replace") * 3

    assert b"".join(read_chunks(io.BytesIO(raw))) == raw
