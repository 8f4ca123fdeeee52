"""`ggufctl chat` from scripts, against a server whose answers and faults are laid out."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest

from ggufctl.documents import schema_of
from tests.fakeopenai import FakeOpenAI, drops, endless, says, status, text
from tests.serving import environment

PNG = b"\x89PNG\r\n\x1a\nrest"


@pytest.fixture
def chat(run):
    return partial(run, "chat")


def test_a_pipe_gets_the_answer_and_nothing_else(fake, chat):
    done = chat(fake.url, "What is gravity?", "-n", "20", "--temp", "0.5", "--top-k", "3")

    assert (done.returncode, done.stdout) == (0, "Gravity pulls things.\n")
    assert "3 tokens at 85.5/s · first after" in done.stderr
    assert "prompt 9 at 512/s · 2 of it kept" in done.stderr
    (body,) = fake.asked()
    assert body["messages"] == [{"role": "user", "content": "What is gravity?"}]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny", 20, 0.5)
    assert body["top_k"] == 3
    assert body["stream"] is True
    assert "seed" not in body


def test_quiet_says_nothing_but_the_answer(fake, chat):
    done = chat(fake.url, "Hi", "-q")

    assert (done.stdout, done.stderr) == ("Gravity pulls things.\n", "")


def test_a_question_comes_from_standard_input(fake, chat):
    assert chat(fake.url, stdin="From a pipe\n").returncode == 0
    assert chat(fake.url, "Explain:", "-", stdin="some diff\n").returncode == 0
    empty = chat(fake.url)

    asked = [body["messages"][0]["content"] for body in fake.asked()]
    assert asked == ["From a pipe", "Explain:\nsome diff"]
    assert (empty.returncode, empty.stdout) == (2, "")
    assert "standard input is empty" in empty.stderr


def test_json_is_one_document_and_its_schema_knows_it(fake, chat):
    fake.behaviours = [says("\x1b[2Jred ", "\u202eflow")]

    done = chat(fake.url, "Hi", "--json", "--system", "Be brief.")

    found = json.loads(done.stdout)
    schema_of("chat").model_validate(found)
    assert found["answer"] == "\x1b[2Jred \u202eflow"
    assert "\x1b" not in done.stdout
    assert found["question"] == "Hi"
    assert (found["n_prompt"], found["n_cached"], found["n_tokens"]) == (9, 2, 2)
    assert fake.asked()[0]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_what_a_model_writes_cannot_command_a_terminal(fake, chat):
    fake.behaviours = [says("a\x1b]0;title\x07b\n", "c\u202ed")]

    assert chat(fake.url, "Hi").stdout == "a\\x1b]0;title\\x07b\nc\\u202ed\n"


def test_questions_of_a_file_are_one_conversation(fake, chat, tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("First?\n\nSecond?\n")
    fake.behaviours = [says("One."), says("Two."), says("One."), says("Two.")]

    together = chat(fake.url, "--questions", str(path))
    apart = chat(fake.url, "--questions", str(path), "--no-history", "--json")

    assert together.stdout == "One.\nTwo.\n"
    lines = [json.loads(line) for line in apart.stdout.splitlines()]
    assert [(line["question"], line["answer"]) for line in lines] == [
        ("First?", "One."),
        ("Second?", "Two."),
    ]
    lengths = [len(body["messages"]) for body in fake.asked()]
    assert lengths == [1, 3, 1, 1]


def test_images_go_as_data_and_only_where_they_are_taken(fake, chat, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    fake.props = {"total_slots": 2, "modalities": {"vision": True}}
    taken = chat(fake.url, "What is it?", "--image", str(path))
    fake.props = {"total_slots": 2, "modalities": {"vision": False}}
    refused = chat(fake.url, "What is it?", "--image", str(path))
    path.write_bytes(b"<html>")
    broken = chat(fake.url, "What is it?", "--image", str(path))

    assert taken.returncode == 0
    (body,) = fake.asked()
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    assert refused.returncode == 2
    assert "--mmproj" in refused.stderr
    assert broken.returncode == 2
    assert "no PNG" in broken.stderr


def test_what_the_model_thinks_is_not_part_of_the_answer(fake, chat):
    def behave(handler, body):
        handler.begin()
        handler.event({"choices": [{"delta": {"reasoning_content": "Let me see."}}]})
        handler.piece("42", "stop")

    fake.behaviours = [behave, behave, behave]

    plain = chat(fake.url, "Hi")
    shown = chat(fake.url, "Hi", "--show-reasoning")
    as_json = json.loads(chat(fake.url, "Hi", "--json").stdout)

    assert (plain.stdout, shown.stdout) == ("42\n", "42\n")
    assert "Let me see." not in plain.stderr
    assert "Let me see.\n" in shown.stderr
    assert (as_json["answer"], as_json["reasoning"]) == ("42", "Let me see.")


def test_a_server_that_loads_its_model_is_waited_for_and_talked_about(fake, chat):
    loading = (503, {"error": {"message": "Loading model", "code": 503}})
    fake.health = [loading, loading]

    done = chat(fake.url, "Hi", "--json")

    assert done.returncode == 0
    assert "the server is up and loads its model" in done.stderr
    assert json.loads(done.stdout)["waited_seconds"] > 0


def test_a_server_that_goes_to_sleep_in_between_is_waited_for_as_well(fake, chat):
    fake.behaviours = [text(503, "modal-http: no containers are ready\n"), says("Back.")]

    done = chat(fake.url, "Hi")

    assert (done.returncode, done.stdout) == (0, "Back.\n")


def test_a_server_that_is_busy_is_asked_again(fake, chat):
    fake.behaviours = [status(429, "slow down", Retry_After="1"), says("Now.")]

    done = chat(fake.url, "Hi")

    assert done.stdout == "Now.\n"
    assert "busy; asking again in 1 s" in done.stderr


def test_waiting_has_an_end(fake, chat):
    fake.health = [(503, {"error": {"message": "Loading model"}})] * 50

    done = chat(fake.url, "Hi", "--wait", "1")

    assert (done.returncode, done.stdout) == (9, "")
    assert "not ready after 1 seconds: the server is up and loads its model" in done.stderr


@pytest.mark.parametrize(
    ("behaviour", "code", "words", "shown"),
    [
        (status(400, "the request exceeds the available context size"), 2, "context size", ""),
        (status(401, "Invalid API Key"), 4, "GGUFCTL_API_KEY", ""),
        (status(500, "boom"), 8, "boom", ""),
        (drops("Half an "), 8, "middle of the answer", "Half an "),
        (text(302, "", Location="http://127.0.0.1:1/"), 8, "another place", ""),
    ],
)
def test_a_fault_is_one_sentence_and_an_exit_code(fake, chat, behaviour, code, words, shown):
    fake.behaviours = [behaviour]

    done = chat(fake.url, "Hi")

    assert (done.returncode, done.stdout) == (code, shown)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_at_an_address_is_said(chat):
    done = chat("http://127.0.0.1:9", "Hi", "--json")

    assert done.returncode == 8
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "remote_error"


def test_a_key_goes_to_the_server_it_is_meant_for(fake, chat):
    fake.key = "sk-ours-0123456789abcdef"
    ours = chat(fake.url, "Hi", GGUFCTL_API_KEY=fake.key)
    fake.key = "sk-openai-0123456789abcdef"
    theirs = chat(fake.url, "Hi", OPENAI_API_KEY=fake.key, OPENAI_BASE_URL=fake.url)
    fake.requests.clear()
    stray = chat(fake.url, "Hi", OPENAI_API_KEY=fake.key)

    assert (ours.returncode, theirs.returncode, stray.returncode) == (0, 0, 4)
    assert not any("Authorization" in headers for _, _, headers, _ in fake.requests)
    for done in (ours, theirs, stray):
        assert "0123456789abcdef" not in done.stdout + done.stderr


def test_a_server_of_several_models_needs_to_be_told_which(own_surroundings, chat):
    with FakeOpenAI(models=["small", "large"]) as fake:
        unsaid = chat(fake.url, "Hi")
        said = chat(fake.url, "Hi", "--model", "large")
        wrong = chat(fake.url, "Hi", "--model", "huge")

        assert (unsaid.returncode, said.returncode, wrong.returncode) == (2, 0, 3)
        assert "small, large" in unsaid.stderr
        assert fake.asked()[0]["model"] == "large"


def test_a_template_for_a_server_that_runs_comes_back_as_its_arguments(fake, chat, tmp_path):
    (tmp_path / "empty").write_text("\n")
    named = chat(fake.url, "Hi", "--chat-template", "vicuna")
    typo = chat(fake.url, "Hi", "--chat-template", "vicunna")
    empty = chat(fake.url, "Hi", "--chat-template-file", str(tmp_path / "empty"))
    blank = chat(fake.url, "Hi", "--chat-template", " ")

    assert "-- --no-jinja --chat-template vicuna," in named.stderr
    assert "vicuna" in typo.stderr and "neither" in typo.stderr
    assert "no chat template in" in empty.stderr
    assert [done.returncode for done in (named, typo, empty, blank)] == [2, 2, 2, 0]


def test_settings_of_a_server_are_refused_where_it_runs_already(fake, chat):
    for args in (("-c", "4096"), ("--chat-template", "chatml"), ("--mmproj", "x"), ("-t", "2")):
        done = chat(fake.url, "Hi", *args)

        assert done.returncode == 2
        assert "runs already" in done.stderr or "of its own" in done.stderr
    kwargs = '{"enable_thinking": false}'
    assert chat(fake.url, "Hi", "--chat-template-kwargs", kwargs).returncode == 0
    assert fake.asked()[0]["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nonesuch", "Hi"), "Nothing called 'nonesuch' is deployed"),
        (("http://u:p@host", "Hi"), "must not hold a password"),
    ],
)
def test_what_is_not_there_is_said(chat, args, words):
    done = chat(*args)

    assert done.returncode in (2, 3)
    assert words in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("-", "-"),
        ("Hi", "--questions", "/nonexistent"),
        ("--questions", "/nonexistent"),
        ("Hi", "--system", "a", "--system-file", "b"),
        ("Hi", "--load", "/nonexistent"),
        ("Hi", "--chat-template-kwargs", "[1]"),
        ("Hi", "--timeout", "0"),
        ("  ",),
    ],
)
def test_bad_input_is_refused_before_anything_is_asked(fake, chat, args):
    done = chat(fake.url, *args)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert fake.asked() == []


def test_ctrl_c_ends_a_question_with_130(fake, own_surroundings):
    fake.behaviours = [endless()]
    process = subprocess.Popen(
        (sys.executable, "-m", "ggufctl", "chat", fake.url, "Hi"),
        env=environment(own_surroundings / "state"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 10)

    process.send_signal(2)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "options",
    [
        ("--timeout", "nan"),
        ("--timeout", "inf"),
        ("--wait", "nan"),
        ("--temp", "nan"),
        ("--min-p", "inf"),
        ("--system-file", "~nobody-of-that-name/x"),
        ("--load", "~nobody-of-that-name/x"),
        ("--system-file", "/dev/zero"),
        ("--image", "/dev/zero"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(fake, chat, options):
    done = chat(fake.url, "Hi", *options)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert fake.asked() == []


def test_a_broken_address_is_said(chat):
    done = chat("http://[::1", "Hi")

    assert done.returncode == 2
    assert "is no address of a server" in done.stderr
