"""`ggufctl bench` against a server whose answers and faults are laid out."""

import json

import pytest

from ggufctl.documents import schema_of
from ggufctl.services import deployments
from tests.fakeopenai import drops, endless, says, status


@pytest.fixture
def bench(run, fake):
    def command(*args, **more):
        return run("bench", fake.url, "-n", "3", "-p", "8", *args, **more)

    return command


def llama_server(fake, n_slots=2):
    fake.props = {
        "total_slots": n_slots,
        "build_info": "b11434-abc",
        "default_generation_settings": {"n_ctx": 512},
        "modalities": {"vision": False},
    }
    fake.usual = says("a", "b", "c")


def test_levels_go_up_to_the_slots_and_the_document_is_as_published(fake, bench):
    llama_server(fake, 2)

    done = bench("--json")

    found = json.loads(done.stdout)
    schema_of("bench").model_validate(found)
    assert done.returncode == 0
    assert [row["n_streams"] for row in found["levels"]] == [1, 2]
    assert [row["n_ok"] for row in found["levels"]] == [4, 4]
    assert (found["n_requests"], found["stopped_by"]) == (9, "")
    assert found["levels"][0]["tokens_per_second"] == 85.5
    assert found["levels"][0]["n_cached"] == 2
    assert found["cold_start_seconds"] is None
    assert (found["usd"], found["prediction"]) == (None, None)


def test_prompts_are_exact_all_different_and_kept_from_caches(fake, bench):
    llama_server(fake, 1)

    bench("-q")
    first = [body["prompt"] for body in fake.asked()]
    texts = [body["content"] for _, path, _, body in fake.requests if path == "/tokenize"]
    fake.requests.clear()
    bench("-q")

    assert all(len(prompt) == 8 for prompt in first)
    assert len({text.split()[0] for text in texts}) == len(texts) == 5
    assert [body["prompt"] for body in fake.asked()] == first
    body = fake.asked()[0]
    assert (body["cache_prompt"], body["ignore_eos"]) == (False, True)
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0, 1, 3)


def test_a_server_that_is_not_llama_server_is_asked_in_words(fake, bench):
    done = bench("--concurrency", "1")

    body = fake.asked()[0]
    assert body["messages"][0]["content"].startswith("1-0 ")
    assert "cache_prompt" not in body
    assert "about 8 tokens" in done.stderr
    assert done.stdout.splitlines()[0].startswith("n_streams\tn_ok\tn_errors\t")
    assert len(done.stdout.splitlines()) == 2


def test_errors_are_counted_and_said(fake, bench):
    fake.behaviours = [says(), status(500, "boom"), drops("a"), says()]

    done = bench("--concurrency", "1", "--json")

    (row,) = json.loads(done.stdout)["levels"]
    assert (row["n_ok"], row["n_errors"]) == (2, 2)
    assert any("boom" in error["text"] for error in row["errors"])


def test_a_server_where_nothing_works_is_an_error_and_no_result(fake, bench):
    fake.behaviours = [says()]
    fake.usual = status(500, "boom")

    done = bench("--concurrency", "1")

    assert (done.returncode, done.stdout) == (8, "")
    assert "Every request failed" in done.stderr


def test_a_key_that_is_not_accepted_ends_it_at_once(fake, bench):
    fake.key = "sk-x-0123456789abcdef"

    done = bench()

    assert done.returncode == 4
    assert fake.asked() == []


def test_requests_have_a_limit(fake, bench):
    done = bench("--concurrency", "1,2,4,8", "--requests", "10", "--json")

    found = json.loads(done.stdout)
    assert found["stopped_by"] == "requests"
    assert found["n_requests"] <= 10
    assert len(fake.asked()) == found["n_requests"]
    assert [row["n_streams"] for row in found["levels"]] == [1, 2]


def test_time_has_a_limit_also_for_an_answer_without_an_end(fake, bench):
    fake.behaviours = [says(), says()]
    fake.usual = endless(pause=0.05)

    done = bench("--concurrency", "1", "--max-seconds", "1", "--json")

    found = json.loads(done.stdout)
    assert found["stopped_by"] == "time"
    assert found["levels"][0]["n_ok"] == 1
    assert found["levels"][0]["n_errors"] == 0


def test_a_time_in_which_nothing_is_answered_says_which_limit_it_was(fake, bench):
    fake.usual = endless(pause=3.0)

    done = bench("--concurrency", "1", "--max-seconds", "0.2")

    assert done.returncode == 2
    assert "within --max-seconds" in done.stderr
    assert "--timeout" not in done.stderr


def test_money_has_a_limit_and_is_refused_where_it_cannot_be_kept(fake, bench):
    unknown = bench("--max-usd", "1")
    too_little = bench("--max-usd", "0.001", "--usd-per-hour", "3.6")
    n_before = len(fake.requests)
    fake.behaviours = [says(), says()]
    fake.usual = endless(pause=0.05)
    stopped = bench("--max-usd", "0.011", "--usd-per-hour", "3.6", "--concurrency", "1", "--json")

    assert (unknown.returncode, too_little.returncode) == (2, 2)
    assert "--usd-per-hour" in unknown.stderr
    assert "at least $0.010" in too_little.stderr
    assert n_before == 0
    found = json.loads(stopped.stdout)
    assert found["stopped_by"] == "money"
    assert found["usd"] == pytest.approx(0.011, rel=0.5)


def test_prompts_that_do_not_fit_a_slot_are_refused(fake, bench):
    llama_server(fake)

    done = bench("-p", "600")

    assert done.returncode == 2
    assert "do not fit the 512 tokens" in done.stderr


def test_a_run_is_compared_with_an_earlier_one(fake, bench, tmp_path):
    llama_server(fake, 1)
    path = tmp_path / "before.json"
    path.write_text(bench("--json").stdout)

    same = bench("--compare", str(path))
    other = bench("--compare", str(path), "--seed", "2", "--json")
    path.write_text("[]")
    broken = bench("--compare", str(path))

    assert "not comparable" not in same.stderr
    assert "tokens/s of a stream" in same.stderr
    found = json.loads(other.stdout)
    schema_of("bench").model_validate(found)
    assert found["comparison"]["differing"] == ["seed: 1 before, 2 now"]
    assert broken.returncode == 2


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture_is_drawn(fake, bench, tmp_path, suffix):
    llama_server(fake, 2)
    path = tmp_path / f"speed.{suffix}"
    before = tmp_path / "before.json"
    before.write_text(bench("--json").stdout)

    done = bench("--plot", str(path), "--compare", str(before), "-q")

    assert done.returncode == 0
    head = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(head)


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_asked(
    fake, bench, tmp_path
):
    for path in ("speed.docx", str(tmp_path / "absent" / "speed.png")):
        assert bench("--plot", path).returncode == 2
    assert fake.requests == []


@pytest.mark.parametrize(
    "args",
    [
        ("--concurrency", "0"),
        ("--concurrency", "1,x"),
        ("--requests", "1"),
        ("--max-seconds", "0"),
        ("--max-usd", "-1"),
        ("-n", "1"),
        ("--cold",),
        ("--compare", "/nonexistent"),
    ],
)
def test_limits_that_make_no_sense_are_refused(fake, bench, args):
    done = bench(*args)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert fake.asked() == []


def test_a_model_is_not_a_server(run):
    done = run("bench", "org/repo:Q4_K_M")

    assert done.returncode == 2
    assert "Serve the model first" in done.stderr


def test_nothing_is_left_in_the_state_directory(fake, bench):
    bench("--concurrency", "1")

    assert deployments.listed(ended=True) == ()


@pytest.mark.parametrize(
    "report",
    [
        '{"schema_version": "1.0", "levels": 7, "settings": {}}',
        "[]",
        '{"schema_version": "9.0", "levels": [], "settings": {}}',
    ],
)
def test_what_cannot_be_compared_with_is_refused_before_anything_is_asked(
    fake, bench, tmp_path, report
):
    (tmp_path / "old.json").write_text(report)

    done = bench("--compare", str(tmp_path / "old.json"))

    assert done.returncode == 2
    assert fake.asked() == []


def test_a_wait_that_is_no_number_is_refused(fake, bench):
    done = bench("--wait", "nan")

    assert done.returncode == 2
    assert "--wait" in done.stderr
