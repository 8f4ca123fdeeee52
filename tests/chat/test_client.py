import pytest

from ggufctl import client as module
from ggufctl.client import (
    AnswerBroken,
    Busy,
    Client,
    Endpoint,
    NotReady,
    Unreachable,
    base_url,
    pieces,
)
from ggufctl.errors import AccessDenied, ModelNotFound, RemoteError, UsageError
from tests.fakeopenai import FakeOpenAI, drops, endless, sends, silent, status, text

KEY = "sk-ggufctl-0123456789abcdefghij"


def ask(url, key="", idle_seconds=30.0):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with Client(Endpoint(url, headers), idle_seconds=idle_seconds) as client:
        return list(pieces(client, f"{url}/chat/completions", {"messages": []}))


def test_an_answer_comes_piece_by_piece_with_what_the_server_measured(fake):
    found = ask(fake.url)

    assert "".join(piece.text for piece in found) == "Gravity pulls things."
    assert [piece.finish_reason for piece in found if piece.finish_reason] == ["stop"]
    assert found[-1].n_prompt == 9
    assert found[-1].timings.tokens_per_second == 85.5
    assert found[-1].timings.n_cached == 2


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_what_a_model_thinks_is_told_apart_from_what_it_says(fake, name):
    def behave(handler, body):
        handler.begin()
        handler.event({"choices": [{"delta": {name: "Hm."}}]})
        handler.piece("Yes.", "stop")

    fake.behaviours = [behave]

    found = ask(fake.url)

    assert [(piece.reasoning, piece.text) for piece in found] == [("Hm.", ""), ("", "Yes.")]


def test_a_server_that_does_not_stream_is_understood_all_the_same(fake):
    body = b'{"choices":[{"message":{"content":"Hi."},"finish_reason":"stop"}]}'
    fake.behaviours = [sends(body, "application/json")]

    assert [piece.text for piece in ask(fake.url)] == ["Hi."]


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        (status(503, "Loading model"), NotReady, "Loading model"),
        (text(503, "modal-http: no containers are ready\n"), NotReady, "modal-http"),
        (text(502, "modal-http: gone"), NotReady, "modal-http"),
        (status(401, "Invalid API Key"), AccessDenied, "does not accept the key"),
        (status(403, "no"), AccessDenied, "does not accept the key"),
        (status(404, "no such model"), ModelNotFound, "no such model"),
        (status(429, "slow down"), Busy, "slow down"),
        (status(400, "request exceeds the context"), UsageError, "exceeds the context"),
        (status(500, "boom"), RemoteError, "boom"),
        (text(500, "<html>secret page</html>"), RemoteError, "does not say why"),
        (drops(), AnswerBroken, "middle of the answer"),
        (drops("Gravi"), AnswerBroken, "middle of the answer"),
        (sends(b"data: {garbage\n\n"), AnswerBroken, "no JSON"),
        (sends(b"data: [1]\n\n"), AnswerBroken, "no piece"),
        (sends(b"\x00\xff\xfe garbage without an end"), AnswerBroken, "middle of the answer"),
        (sends(b"data: " + b"x" * (2 << 20)), AnswerBroken, "no stream of answers"),
        (sends(b"<html>", "text/html"), RemoteError, "text/html"),
        (sends(b"{" * (9 << 20), "application/json"), AnswerBroken, "more than any answer"),
        (sends(b'data: {"error":{"message":"Context size has been exceeded."}}\n\n'),
         AnswerBroken, "Context size has been exceeded"),
        (sends(b'data: {"error":{"code":400,"message":"bad grammar"}}\n\n'),
         UsageError, "bad grammar"),
        (text(302, "", Location="http://127.0.0.1:1/v1/chat/completions"), RemoteError, "another"),
        (text(307, "", Location="/v1/chat/completions"), None, ""),
    ],
)  # fmt: skip
def test_every_fault_becomes_one_sentence(fake, behaviour, kind, words):
    fake.behaviours = [behaviour]

    if kind is None:
        assert ask(fake.url)
        return
    with pytest.raises(kind) as caught:
        ask(fake.url)

    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_a_key_is_not_sent_to_where_a_redirect_leads(fake):
    with FakeOpenAI() as other:
        for code in (301, 302, 303, 307, 308):
            fake.behaviours.append(text(code, "", Location=f"{other.url}/chat/completions"))
        for _ in range(5):
            with pytest.raises(RemoteError, match="another place"):
                ask(fake.url, KEY)

        assert other.requests == []


def test_a_redirect_within_the_server_is_followed_as_modal_needs_it(fake):
    fake.behaviours = [text(303, "", Location="/v1/models?call=1")]

    with Client(Endpoint(fake.url, {"Authorization": f"Bearer {KEY}"})) as client:
        reply = client.post(f"{fake.url}/chat/completions", {})

    assert reply.status == 200
    method, path, headers, _ = fake.requests[-1]
    assert (method, path) == ("GET", "/v1/models?call=1")
    assert headers["Authorization"] == f"Bearer {KEY}"


def test_redirects_without_an_end_are_an_error(fake):
    fake.usual = text(307, "", Location="/v1/chat/completions")

    with pytest.raises(NotReady, match="again and again"):
        ask(fake.url)


def test_a_server_that_repeats_the_key_does_not_get_it_into_a_message(fake):
    fake.behaviours = [status(401, f"bad key plainkey123 {KEY}"), status(500, "plainkey123")]

    for _ in range(2):
        with pytest.raises((AccessDenied, RemoteError)) as caught:
            ask(fake.url, "plainkey123")
        assert "plainkey123" not in str(caught.value)
        assert KEY not in str(caught.value)


def test_a_server_says_when_to_ask_again(fake):
    fake.behaviours = [status(429, "slow", Retry_After="7"), status(429, "", Retry_After="soon")]

    for seconds in (7.0, 0.0):
        with pytest.raises(Busy) as caught:
            ask(fake.url)
        assert caught.value.retry_seconds == seconds


def test_silence_has_an_end(fake):
    fake.behaviours = [silent(60)]

    with pytest.raises(AnswerBroken, match="said nothing"):
        ask(fake.url, idle_seconds=0.3)


def test_an_answer_without_an_end_is_ended(fake, monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWER_CHARACTERS", 200)
    fake.behaviours = [endless(pause=0)]

    with pytest.raises(AnswerBroken, match="does not end"):
        ask(fake.url)


def test_leaving_an_answer_hangs_up(fake):
    fake.behaviours = [endless()]

    with Client(Endpoint(fake.url)) as client:
        stream = pieces(client, f"{fake.url}/chat/completions", {})
        next(stream)
        stream.close()
        ask(fake.url)

    for _ in range(200):
        if fake.n_hung_up:
            break
        fake.ended.wait(0.05)
    assert fake.n_hung_up == 1


def test_nobody_there_is_said():
    with pytest.raises(Unreachable, match="nobody answers"):
        ask("http://127.0.0.1:9/v1")
    with pytest.raises(Unreachable):
        ask("http://nonesuch.invalid/v1")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://host:8080", "http://host:8080/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("https://host/v1/chat/completions", "https://host/v1"),
        ("http://host/health", "http://host/v1"),
        ("https://host/api/openai", "https://host/api/openai"),
    ],
)
def test_an_address_is_taken_as_people_write_it(given, expected):
    assert base_url(given) == expected


@pytest.mark.parametrize(
    "given",
    ["ftp://host", "http://", "http://host:99999999", "http://u:pw@host/v1", "http://h/v1?key=s",
     "http://[::1", "http://ho\x1bst/"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_showing_a_password(given):
    with pytest.raises(UsageError) as caught:
        base_url(given)

    assert "pw" not in caught.value.message
