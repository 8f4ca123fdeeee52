from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufctl.commands import options
from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.documents.compare import BatchDocument
from ggufctl.errors import GgufctlError, UsageError
from ggufctl.report.compare import batch_report
from ggufctl.report.plan import plan_report
from ggufctl.services.batch import (
    SETTINGS,
    Batch,
    Defaults,
    keep_to_one,
    read_done,
    read_rows,
)
from ggufctl.services.plan import plan_reference


def rows(*lines: str | bytes | dict, defaults: Defaults | None = None):
    raw = b"\n".join(
        line
        if isinstance(line, bytes)
        else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    )
    return read_rows(io.BytesIO(raw), defaults or Defaults())


def documents(text: str) -> list[dict]:
    found = [json.loads(line) for line in text.splitlines()]
    for document in found:
        BatchDocument.model_validate(document, strict=True)
    return found


# Lines.


def test_a_line_is_a_reference_or_json_and_comments_are_left_out():
    found = list(
        rows(
            "\ufefforg/a-GGUF",
            "",
            "  # a comment",
            {"model": "org/b", "id": 7, "ctx-size": 4096, "gpu": ["L4", "H100:2"], "quant": "Q8_0"},
            {
                "model": "org/c",
                "ctx_size": "max",
                "gpu_layers": "all",
                "cpu_moe": True,
                "lora": "x",
            },
            {"model": "org/d", "tensor-split": "3,1"},
            {"model": "org/e", "tensor_split": [3, 1]},
        )
    )

    assert [(row.line, row.model, row.id, row.error) for row in found] == [
        (1, "org/a-GGUF", None, None),
        (4, "org/b", 7, None),
        (5, "org/c", None, None),
        (6, "org/d", None, None),
        (7, "org/e", None, None),
    ]
    assert found[1].settings.n_ctx == 4096
    assert found[1].settings.constraints.gpus == ("L4", "H100:2")
    assert found[1].settings.quant == "Q8_0"
    assert found[2].settings.constraints.max_context
    assert found[2].settings.runtime == Runtime(n_gpu_layers=-1, n_cpu_moe=512, lora=("x",))
    for row in found[3:]:
        assert row.settings.runtime == Runtime(tensor_split=(3.0, 1.0))


@pytest.mark.parametrize(
    "line",
    [
        b'{"model": "a/b"',
        b'{"model": 7}',
        b"{}",
        b"[" * 2000,
        b'{"x":' * 2000,
        b"\xff\xfe org/a",
        b'{"model": "a/b", "temperature": 1}',
        b'{"model": "a/b", "ctx_size": "lots"}',
        b'{"model": "a/b", "ctx_size": true}',
        b'{"model": "a/b", "ctx_size": -1}',
        b'{"model": "a/b", "parallel": "many"}',
        b'{"model": "a/b", "tensor_split": 3}',
        b'{"model": "a/b", "tensor_split": [3, true]}',
        b'{"model": "a/b", "cache_type_k": 8}',
        b'{"model": "a/b", "max_usd_per_hour": -1}',
        b'{"model": "a/b", "gpu": 7}',
        b'{"model": "a/b", "id": [1]}',
        b"x" * 70_000,
    ],
    ids=lambda line: repr(line[:40]),
)
def test_a_line_that_makes_no_sense_fails_alone(line):
    before, bad, after = Batch(rows("no such reference", line, "nor this one"))

    assert bad.exit_code == 2
    assert isinstance(bad.error, UsageError)
    assert (before.row.line, bad.row.line, after.row.line) == (1, 2, 3)
    BatchDocument.model_validate(batch_report(bad), strict=True)


@given(st.lists(st.binary(max_size=60).filter(lambda raw: b"\n" not in raw), max_size=5))
def test_no_input_breaks_the_reader(lines):
    found = list(read_rows(io.BytesIO(b"\n".join(lines)), Defaults()))

    assert len(found) <= len(lines)
    assert all(row.model or row.error for row in found)


def test_a_row_takes_every_option_of_the_command():
    beside = {"ctx_size", "gpu", "quant", "max_usd_per_hour"}

    assert set(SETTINGS) - beside <= set(options._RUNTIME)
    assert beside <= set(SETTINGS)


def test_an_endless_line_is_not_kept():
    class Endless(io.RawIOBase):
        left = 40 << 20

        def readable(self):
            return True

        def readinto(self, buffer):
            n = min(len(buffer), self.left)
            buffer[:n] = b"x" * n
            self.left -= n
            return n

    (found,) = read_rows(io.BufferedReader(Endless()), Defaults())

    assert isinstance(found.error, UsageError)
    assert len(found.model) <= 200


# Results.


def test_results_come_in_the_order_of_the_rows_whatever_fails(models):
    lines = [f"org/{name}-GGUF" for name in "abxab"] * 12

    found = list(Batch(rows(*lines), n_threads=5))

    assert [result.row.line for result in found] == list(range(1, 61))
    assert [result.exit_code for result in found] == [0, 0, 3, 0, 0] * 12


def test_a_row_is_planned_as_the_command_alone_would_plan_it(models):
    settings = [
        {"ctx_size": n_ctx, "parallel": n_parallel, "cache_type_k": kv, "cache_type_v": kv}
        for n_ctx in (2048, 8192, 32768)
        for n_parallel in (1, 4)
        for kv in ("f16", "q8_0")
    ]
    given_rows = [{"model": f"org/{name}-GGUF", **more} for more in settings for name in "ab"]

    found = list(Batch(rows(*given_rows), n_threads=4))

    for result, row in zip(found, given_rows, strict=True):
        alone = plan_reference(
            row["model"],
            Runtime(
                n_parallel=row["parallel"],
                cache_type_k=row["cache_type_k"],
                cache_type_v=row["cache_type_v"],
            ),
            Constraints(),
            n_ctx=row["ctx_size"],
        )
        assert result.plan is not None
        assert plan_report(result.plan) == plan_report(alone)


def test_what_is_asked_for_often_is_fetched_once(models):
    list(Batch(rows(*["org/a-GGUF"] * 40), n_threads=8))

    listings = [r for r in models.log if r.path.startswith("/api/models/org/a-GGUF")]
    assert len(listings) == 1


def test_only_as_many_rows_are_read_ahead_as_threads_can_use(models):
    n_read = 0

    def endless():
        nonlocal n_read
        for row in rows(*["org/a-GGUF"] * 10_000):
            n_read += 1
            yield row

    results = iter(Batch(endless(), n_threads=2))
    for _ in range(5):
        next(results)

    assert n_read <= 5 + 2 * 8 + 1


# The command.


def test_lines_come_out_as_json_and_the_exit_code_is_that_of_the_first_failure(models, run):
    lines = ["org/a-GGUF", "org/none-GGUF", json.dumps({"model": "org/b-GGUF", "gpu": "Z1"}), ""]

    found = run("--batch", "-", "-c", "2048", stdin="\n".join(lines))

    documents_ = documents(found.stdout)
    assert found.returncode == 3
    assert [d["exit_code"] for d in documents_] == [0, 3, 2]
    assert documents_[0]["summary"]["n_ctx"] == 2048
    assert documents_[0]["plan"] is None
    assert documents_[1]["error"]["code"] == "model_not_found"
    assert "1 planned, 1 × exit 2, 1 × exit 3" in found.stderr


def test_with_json_a_line_holds_the_whole_plan(models, run):
    found = run("--batch", "-", "--json", "-q", stdin="org/a-GGUF\n")

    (document,) = documents(found.stdout)
    assert found.returncode == 0
    assert found.stderr == ""
    assert document["plan"]["choice"]["gpu"] == document["summary"]["gpu"]


def test_a_row_says_which_gpus_are_left_empty(models, run):
    rows = [
        {"model": "org/a-GGUF", "gpu": "L4:4", "tensor_split": "1,1"},
        {"model": "org/a-GGUF", "gpu": "L4:4", "gpu_layers": 2},
        {"model": "org/a-GGUF", "gpu": "L4:4"},
    ]

    found = run("--batch", "-", stdin="\n".join(map(json.dumps, rows)))

    assert [d["summary"]["warnings"] for d in documents(found.stdout)] == [
        ["-ts 1,1 leaves CUDA2 and CUDA3 of 4 GPUs without a layer."],
        ["CUDA1 and CUDA3 of 4×L4 hold no layer: fewer go to GPUs than there are GPUs."],
        [],
    ]


def test_what_fits_nothing_is_a_row_with_what_would(models, run):
    row = {"model": "org/b-GGUF", "ctx_size": 32768, "gpu": "T4", "max_usd_per_hour": 0.1}

    found = run("--batch", "-", stdin=json.dumps(row))

    (document,) = documents(found.stdout)
    assert found.returncode == document["exit_code"] == 5
    assert document["summary"]["gpu"] is None
    assert document["summary"]["gpus"]


def test_a_rerun_skips_what_is_there_and_mends_a_half_line(models, run, tmp_path):
    (tmp_path / "in.txt").write_text("org/a-GGUF\norg/none-GGUF\norg/b-GGUF\n")
    out = tmp_path / "out.jsonl"
    first = run("--batch", "in.txt", "--output", "out.jsonl")
    whole = out.read_bytes()
    kept = whole.split(b"\n")[0] + b"\n"
    out.write_bytes(whole[: len(kept) + 100])
    models.repos.pop("org/a-GGUF")

    again = run("--batch", "in.txt", "--output", "out.jsonl")

    assert (first.returncode, again.returncode) == (3, 3)
    assert out.read_bytes() == whole
    assert first.stdout == again.stdout == ""
    assert "1 done before" in again.stderr

    third = run("--batch", "in.txt", "--output", "out.jsonl")
    assert third.returncode == 3
    assert third.stderr == "nothing to do, 3 rows done before\n"
    assert out.read_bytes() == whole


def test_two_batches_do_not_write_one_output(models, run, tmp_path):
    (tmp_path / "in.txt").write_text("org/a-GGUF\n")
    out = tmp_path / "out.jsonl"
    with out.open("ab") as file:
        keep_to_one(file, out)
        found = run("--batch", "in.txt", "--output", "out.jsonl")
    after = run("--batch", "in.txt", "--output", "out.jsonl")

    assert found.returncode == 2
    assert "Another batch is writing 'out.jsonl'." in found.stderr
    assert after.returncode == 0
    assert len(documents(out.read_text())) == 1
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.jsonl"]


def test_an_input_without_rows_is_said_to_have_none(models, run):
    found = run("--batch", "-", stdin="# nothing\n")

    assert found.returncode == 0
    assert found.stderr == "nothing to do, there are no rows\n"


def test_what_the_network_kept_from_coming_is_asked_for_again(models, run, tmp_path):
    (tmp_path / "in.txt").write_text("org/a-GGUF\norg/none-GGUF\n")
    models.fail_with = 503
    first = run("--batch", "in.txt", "--output", "out.jsonl")
    models.fail_with = 0

    again = run("--batch", "in.txt", "--output", "out.jsonl")

    assert first.returncode == 8
    assert again.returncode == 3
    codes = [(d["line"], d["exit_code"]) for d in documents((tmp_path / "out.jsonl").read_text())]
    assert codes == [(1, 0), (2, 3)]


@pytest.mark.parametrize("content", [b"hello", b"hello\n", b'{"a": 1}\n', b"\x00" * 100])
def test_a_file_of_something_else_is_left_as_it_is(content, models, run, tmp_path):
    (tmp_path / "out").write_bytes(content)

    found = run("--batch", "-", "--output", "out", stdin="org/a-GGUF\n")

    assert found.returncode == 2
    assert "is not the output of a batch" in found.stderr
    assert (tmp_path / "out").read_bytes() == content


def test_a_device_is_written_to_and_never_read(models, run):
    if not os.path.exists("/dev/full"):
        return
    found = run("--batch", "-", "--output", "/dev/full", "-q", stdin="org/a-GGUF\n")

    assert found.returncode == 1
    assert "No space left" in found.stderr


def test_a_file_without_lines_is_told_by_its_first_bytes(tmp_path):
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(UsageError, match="not the output of a batch"):
        read_done(path)
    assert path.stat().st_size == 1 << 40


def test_other_options_do_not_mix_with_what_is_there(models, run, tmp_path):
    run("--batch", "-", "--output", "out", stdin="org/a-GGUF\n")
    before = (tmp_path / "out").read_bytes()

    found = run("--batch", "-", "--output", "out", "-c", "512", stdin="org/a-GGUF\n")

    assert found.returncode == 2
    assert "another line 1, or of other options" in found.stderr
    assert (tmp_path / "out").read_bytes() == before


def test_an_interruption_leaves_whole_lines_and_is_gone_on_from(models, run, tmp_path):
    names = ["org/a-GGUF", "org/b-GGUF"] * 2000
    lines = [json.dumps({"model": m, "ctx_size": 256 * (n % 97 + 1)}) for n, m in enumerate(names)]
    (tmp_path / "in.txt").write_text("\n".join(lines))
    out = tmp_path / "out.jsonl"
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": os.environ["HF_ENDPOINT"],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ggufctl", "plan", "--batch", "in.txt", "--output", str(out)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not (out.exists() and out.stat().st_size > 20_000):
        assert process.poll() is None
        time.sleep(0.01)

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)

    found = documents(out.read_text())
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert 0 < len(found) < len(lines)
    assert len({d["line"] for d in found}) == len(found)
    done = read_done(out)
    assert sorted(done.rows) == sorted(d["line"] for d in found)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch", "missing.txt"],
        ["--batch", "."],
        ["--batch", "-", "org/a-GGUF"],
        ["--batch", "-", "--compare"],
        ["--batch", "-", "--plot", "x.png"],
        ["--batch", "-", "--name-only"],
        ["--batch", "-", "-j", "0"],
        ["--batch", "-", "-j", "1000"],
        ["--batch", "-", "--output", "."],
        ["--batch", "-", "--output", "no/such/folder"],
        ["org/a-GGUF", "--output", "x"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_refused_before_anything_is_done(arguments, run):
    found = run(*arguments)

    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert "Traceback" not in found.stderr


def test_names_from_strangers_cannot_act_on_a_terminal(models, run):
    evil = "org/\x1b[2J\u202e<script>[bold]"

    found = run("--batch", "-", stdin=json.dumps({"model": evil}) + "\n")

    assert "\x1b" not in found.stdout + found.stderr
    assert "\u202e" not in found.stdout + found.stderr
    (document,) = documents(found.stdout)
    assert document["exit_code"] == 2


# Sharing.


def test_threads_that_want_the_same_at_once_wait_for_one_fetch():
    from ggufctl.services.sharing import SharedWorkshop

    workshop, calls, found = SharedWorkshop(), [], []

    def fetch() -> str:
        calls.append(1)
        time.sleep(0.05)
        return "made"

    def ask() -> None:
        with workshop.turn():
            found.append(workshop._fetch("key", fetch))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["made"] * 8
    assert len(calls) == 1


def test_a_failure_of_the_network_is_not_kept_but_any_other_is():
    from ggufctl.errors import ModelNotFound, RemoteError
    from ggufctl.services.sharing import SharedWorkshop

    for error, n_calls in ((RemoteError("down"), 2), (ModelNotFound("gone"), 1)):
        workshop, calls = SharedWorkshop(), []

        def fetch(error: GgufctlError = error, calls: list[int] = calls) -> str:
            calls.append(1)
            raise error

        for _ in range(2):
            with workshop.turn(), pytest.raises(type(error)):
                workshop._fetch("key", fetch)
        assert len(calls) == n_calls
