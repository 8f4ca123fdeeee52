"""`ggufctl chat` in front of a terminal."""

import json

import pytest

from tests.chat.terminal import on_terminal
from tests.fakeopenai import endless, says, status

PNG = b"\x89PNG\r\n\x1a\nrest"


@pytest.fixture
def state(own_surroundings):
    return own_surroundings / "state"


def test_a_conversation_from_beginning_to_end(fake, state, tmp_path):
    fake.props = {
        "total_slots": 1,
        "default_generation_settings": {"n_ctx": 2048},
        "modalities": {"vision": True},
    }
    kept = tmp_path / "talk.json"
    photo = tmp_path / "photo.png"
    photo.write_bytes(PNG)
    fake.behaviours = [says("One."), says("Two."), says("Other two."), status(500, "boom")]
    with on_terminal("chat", fake.url, state=state) as terminal:
        terminal.expect("tiny · ")
        terminal.expect("2048 tokens of context · takes images · /help")
        terminal.type("First?")
        terminal.expect("One.\n")
        terminal.expect("tokens at 85.5/s")
        terminal.type("/system Be a pirate.")
        terminal.expect("set.")
        terminal.type(f"/image {photo}")
        terminal.expect("next question")
        terminal.type("Second?")
        terminal.expect("Two.\n")
        terminal.type("/retry")
        terminal.expect("Other two.\n")
        terminal.type(f"/save {kept}")
        terminal.expect("Saved.")
        terminal.type("/nonsense")
        terminal.expect("no /nonsense")
        terminal.type("Third?")
        terminal.expect("error: ")
        terminal.type("/clear")
        terminal.expect("Forgotten.")
        terminal.type(f"/load {kept}")
        terminal.expect("4 messages.")
        terminal.type('"""Several')
        terminal.expect("... ")
        terminal.type('lines."""')
        terminal.expect("things.\n")
        terminal.type("/help")
        terminal.expect("/retry")
        terminal.type("/exit")
        assert terminal.wait() == 0

    first, second, retried, failed, last = fake.asked()
    assert len(first["messages"]) == 1
    assert second["messages"][0] == {"role": "system", "content": "Be a pirate."}
    assert retried["messages"] == second["messages"]
    assert failed["messages"][-1]["content"] == "Third?"
    assert last["messages"][-2]["content"] == "Other two."
    assert last["messages"][-1]["content"] == "Several\nlines."
    assert kept.stat().st_mode & 0o077 == 0
    saved = json.loads(kept.read_text())
    assert [message["text"] for message in saved["messages"]][-1] == "Other two."


def test_ctrl_c_stops_an_answer_and_twice_leaves(fake, state):
    fake.behaviours = [endless()]
    with on_terminal("chat", fake.url, state=state) as terminal:
        terminal.expect("> ")
        terminal.type("Go on.")
        terminal.expect("on and on")
        terminal.interrupt()
        terminal.expect("stopped")
        terminal.type("Still there?")
        terminal.expect("things.\n")
        terminal.expect("> ")
        terminal.interrupt_prompt()
        terminal.expect("Ctrl-C again leaves")
        terminal.interrupt_prompt()

        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text
    assert fake.asked()[1]["messages"][1]["content"].startswith("on and on")


def test_ctrl_d_leaves(fake, state):
    with on_terminal("chat", fake.url, state=state) as terminal:
        terminal.expect("> ")
        terminal.end_of_input()

        assert terminal.wait() == 0


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_what_we_say_fits_the_terminal(fake, state, columns):
    with on_terminal("chat", fake.url, state=state, columns=columns) as terminal:
        terminal.expect("> ")
        terminal.type("/help")
        terminal.expect("stops an answer")
        terminal.type("Hi?")
        terminal.expect("first after")
        terminal.type("/exit")
        assert terminal.wait() == 0

    shown = terminal.text[terminal.text.index("/help") :]
    assert all(len(line) <= columns for line in shown.splitlines())
    assert ("2 of it kept" in shown) == (columns >= 80)


def test_no_color_means_no_styles(fake, state):
    with on_terminal("chat", fake.url, "Hi", state=state) as terminal:
        assert terminal.wait() == 0
    assert "\x1b[2m" in terminal.raw
    with on_terminal("chat", fake.url, "Hi", state=state, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
    assert "\x1b" not in terminal.raw
