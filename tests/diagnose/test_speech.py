"""What users and models say is no failure, and what programs say beside it still is."""

from __future__ import annotations

import pytest

from ggufctl.core.diagnosis.levels import is_detail, is_usual
from ggufctl.core.diagnosis.speech import is_prose, is_speech, without_speech
from ggufctl.core.logtext import LogLine, read_log
from tests.diagnose.talk import blamed, logs

MOST_BLAMED = 0.05
"""Share of logs of talk about errors that are taken for failures."""


def test_talk_about_errors_is_seldom_taken_for_one():
    all_logs = [log for _, log in logs()]
    wrong = [log for log in all_logs if blamed(log)]

    assert len(wrong) <= MOST_BLAMED * len(all_logs)


@pytest.mark.parametrize(
    "text",
    [
        "bot message from ana: !ask torch.cuda.OutOfMemoryError what do I do?",
        '"In the depths of the sea, I am not a ship, but a failure."',
        "Q: CUDA error: out of memory",
        "nginx says upstream timed out (110: Connection timed out). Why?",
        "Explain the error: connection refused on port 8080",
        "[12] Write a script that ends with permission denied",
        "A ModuleNotFoundError: No module named 'torch' occurs when a package is missing",
    ],
)
def test_what_only_people_and_models_say_is_speech(text):
    assert is_speech(text)


@pytest.mark.parametrize(
    "text",
    [
        "error loading model: unknown (magic, version) combination: 67676a74, 00000003; is this "
        "really a GGML file?",
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon "
        "running?",
        "Failed. Are you sure there are GGUF files in `tiiuae/falcon-180B`?",
        "terminate called after throwing an instance of 'std::runtime_error'",
        "  what():  can not find preferred GPU platform",
        "Error: I/O error: no space left on device",
        "Sorry, we can't find the page you are looking for.",
        'service "llama" refers to undefined volume models: invalid compose project',
        "The container was terminated because it used too much memory",
        "Assistant: Hello/src/ggml-vulkan.cpp:6078: GGML_ASSERT(ok) failed",
        "Response: error 500",
        "Response: 502 Bad Gateway",
        "RuntimeError: the engine did not start (exit code 1), which mostly means that it ran out",
        "Error: could not connect to ollama; 'refused' means that it is not running",
        "bot: Failed to connect to http://localhost:8080",
        "Could not connect to the server. Wrong port?",
        '{"question": "hello", "error": "CUDA error: out of memory"}',
    ],
)
def test_what_programs_say_is_not(text):
    assert not is_speech(text)
    assert not is_prose(text)


@pytest.mark.parametrize(
    "text",
    [
        """{"question": "out of memory", "ms": 1}""",
        """{'answer': 'it was "killed"', 'ms': 1}""",
        """level=info prompt="What causes "out of memory"?" tokens=12""",
        "generate(prompt='segfault', n=1)",
    ],
)
def test_what_is_marked_as_said_is_left_out_and_the_rest_kept(text):
    silent = without_speech(text)

    assert len(silent) == len(text)
    assert not any(word in silent for word in ("memory", "killed", "segfault"))
    assert any(rest in silent for rest in ('"ms": 1', "'ms': 1", "tokens=12", "n=1"))


ENGINE = """\
== Running in interactive mode. ==
 - Press Ctrl+C to interject at any time.

> sh: line 1: ./run.sh: No such file or directory
The message tells that the shell did not find the script:
```
sh: line 1: ./run.sh: No such file or directory
```
"""


def test_what_an_engines_own_chat_prints_is_talk_until_the_engine_breaks():
    assert not blamed(ENGINE)

    end = "CUDA error: out of memory\n  current device: 0, in function alloc at ggml-cuda.cu:420\n"
    assert [found.id for found in blamed(ENGINE + end)] == ["oom-runtime"]


def _line(text: str) -> LogLine:
    return next(read_log([text.encode()]))


@pytest.mark.parametrize(
    ("text", "usual", "detail"),
    [
        ("2025-01-01 10:00:00 DEBUG app: No module named 'prisma'", True, True),
        ("2025-01-01T10:00:00Z\tLEVEL(-2)\tpod.go:84\tPod already exists\t{}", True, True),
        ("2025-01-01 10:00:00 INFO app: connection refused", True, False),
        ("2025-01-01 10:00:00 INFO app: Error: connection refused", False, False),
        ("2025-01-01 10:00:00 ERROR app: connection refused", False, False),
        ("[2025-01-01 10:00:00][DEBUG] CUDA error: out of memory", False, False),
        ("[DEBUG] <m> cmd.Wait() returned error: signal: aborted (core dumped)", False, False),
        ("connection refused", False, False),
    ],
)
def test_levels_say_what_is_written_as_a_matter_of_course(text, usual, detail):
    line = _line(text)

    assert (is_usual(line), is_detail(line)) == (usual, detail)


def test_what_is_written_as_a_matter_of_course_counts_only_near_the_end():
    said = "2025-01-01 10:00:00,1 - app - INFO - Cannot connect to the Docker daemon at x\n"
    work = "".join(f"2025-01-01 10:00:0{n % 10},1 - app - INFO - step {n}\n" for n in range(30))

    assert [found.id for found in blamed(said)] == ["service-not-running"]
    assert not blamed(said + work)


def test_a_sentence_of_words_alone_is_no_failure_where_a_model_was_asked():
    said = "Your large job ran out of memory\n"
    asked = 'INFO:httpx:HTTP Request: POST http://x/v1/chat/completions "HTTP/1.1 200 OK"\n'

    assert [found.id for found in blamed(said)] == ["out-of-memory"]
    assert not blamed(asked + said)
    assert [found.id for found in blamed(asked + "Error: " + said)] == ["out-of-memory"]
