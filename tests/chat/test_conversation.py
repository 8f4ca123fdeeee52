import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufctl.core.conversation import (
    COMMANDS,
    Conversation,
    Image,
    LineKind,
    Message,
    Role,
    image_type,
    parse_line,
    parse_questions,
)
from ggufctl.core.escape import escape_prose
from ggufctl.errors import UsageError

PNG = b"\x89PNG\r\n\x1a\nrest"

texts = st.text(st.characters(codec="utf-8"), max_size=30)
images = st.builds(Image, st.binary(max_size=20), st.sampled_from(["image/png", "image/jpeg"]))
messages = st.builds(Message, st.sampled_from(Role), texts, st.lists(images, max_size=2).map(tuple))
conversations = st.builds(Conversation, texts, st.lists(messages, max_size=5).map(tuple))


@given(conversations)
def test_a_conversation_comes_back_as_it_was_saved(conversation):
    assert Conversation.from_json(conversation.to_json()) == conversation


@given(st.text())
def test_whatever_is_no_conversation_is_refused_in_one_sentence(text):
    with pytest.raises(UsageError, match="no conversation"):
        Conversation.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"system": None},
        {"messages": [{"role": "god", "text": "", "images": []}]},
        {"messages": [{"role": "user", "text": "", "images": ["http://x/y.png"]}]},
        {"messages": [{"role": "user", "text": 1, "images": []}]},
        {"messages": {}},
    ],
)
def test_a_conversation_with_something_wrong_in_it_is_refused(change):
    document = json.loads(Conversation().asked("hi").to_json())
    if change == {"messages": {}}:
        change = {"messages": "text"}

    with pytest.raises(UsageError, match="no conversation"):
        Conversation.from_json(json.dumps({**document, **change}))


def test_the_system_prompt_comes_first_and_images_come_as_data():
    image = Image(b"\x01\x02", "image/png")

    found = Conversation("Be brief.").asked("What?", (image,)).answered("A cat.").to_api()

    assert found == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AQI="}},
                {"type": "text", "text": "What?"},
            ],
        },
        {"role": "assistant", "content": "A cat."},
    ]


def test_taking_the_last_question_back_takes_its_answer_too():
    one = Conversation().asked("1").answered("a")

    assert one.asked("2").answered("b").without_question() == one
    assert one.asked("2").without_question() == one
    assert Conversation().without_question() == Conversation()


@pytest.mark.parametrize(
    ("line", "kind", "text", "argument"),
    [
        ("", LineKind.EMPTY, "", ""),
        ("  ", LineKind.EMPTY, "", ""),
        ("Hello /exit", LineKind.QUESTION, "Hello /exit", ""),
        ("//etc/passwd?", LineKind.QUESTION, "/etc/passwd?", ""),
        ("/save my file.json ", LineKind.COMMAND, "/save", "my file.json"),
        ("/EXIT", LineKind.COMMAND, "/exit", ""),
        ("/bye", LineKind.COMMAND, "/exit", ""),
        ("/?", LineKind.COMMAND, "/help", ""),
        ("/nonsense now", LineKind.UNKNOWN, "/nonsense", ""),
    ],
)
def test_a_line_means_what_it_says(line, kind, text, argument):
    found = parse_line(line)

    assert (found.kind, found.text, found.argument) == (kind, text, argument)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_help_is_one(command):
    assert parse_line(command).kind is LineKind.COMMAND


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\n\n two \r\n", ("one", "two")),
        ('["one", "two\\nlines"]', ("one", "two\nlines")),
        ("[not json\nbut a question", ("[not json", "but a question")),
    ],
)
def test_questions_are_lines_or_a_list(text, expected):
    assert parse_questions(text) == expected


@pytest.mark.parametrize("text", ["", " \n ", "[]", '["a", 1]', '["a", " "]'])
def test_no_question_is_an_error(text):
    with pytest.raises(UsageError):
        parse_questions(text)


def test_an_image_is_known_by_how_it_begins():
    assert image_type("x", PNG) == "image/png"
    assert image_type("x", b"\xff\xd8\xff\xe0") == "image/jpeg"
    with pytest.raises(UsageError, match="no PNG"):
        image_type("x.png", b"<html>")
    with pytest.raises(UsageError, match="larger than 20 MiB"):
        image_type("x.png", PNG + bytes(20 << 20))


@given(st.text())
def test_nothing_of_a_models_words_can_command_a_terminal(text):
    shown = escape_prose(text)

    assert "\x1b" not in shown
    assert all(c in "\n\t" or ord(c) >= 0x20 for c in shown)
    assert not any(0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in shown)


def test_lines_tabs_and_emoji_stay_as_they_are():
    text = "a\tb\r\nc ❤️ 👩‍🚀"

    assert escape_prose(text) == text.replace("\r", "")
    assert escape_prose("\x1b[2J\x9b1m\r") == "\\x1b[2J\\x9b1m\\x0d"
