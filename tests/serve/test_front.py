"""What stands before an engine: requests are passed on, held while there is none, never lost."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import serving
from ggufctl.errors import LaunchFailed
from ggufctl.front.orders import Limits
from ggufctl.services.front import Front, port_of_our_own

SECONDS = 30.0
LARGE = bytes(range(256)) * 4096


class Engine(ThreadingHTTPServer):
    """Answers with its name and what it was sent, at once or when it is let."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = name
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked: list[str] = []
        self.was_left = threading.Event()
        self.dies_while_streaming = False
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked is gone, as some tests want it."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/stream":
            self.stream()
            return
        if self.path.startswith("/echo"):
            self.echo()
            return
        self.answer(b"")

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding"):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.server.may_answer.wait(SECONDS) or self.path == "/die":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.answer(body)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1234")
        self.end_headers()

    def echo(self) -> None:
        text = gzip.compress(json.dumps([self.path, self.headers.items()]).encode())
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "X-Own")
        self.send_header("X-Own", "between the two of us")
        self.end_headers()
        self.wfile.write(text)

    def answer(self, body: bytes) -> None:
        text = json.dumps({"engine": self.server.name, "n_bytes": len(body)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for number in range(100_000):
                self.wfile.write(b"8\r\ntoken\r\n\n\r\n")
                if number == 2 and self.server.may_answer.wait(SECONDS):
                    break
                if self.server.dies_while_streaming:
                    return
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.server.was_left.set()


@dataclass
class Asking:
    """A request made in a thread of its own."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: Exception | None = None
    thread: threading.Thread | None = None

    @property
    def answer(self) -> dict[str, object]:
        assert self.thread is not None
        self.thread.join(SECONDS)
        assert not self.thread.is_alive(), "no answer"
        if self.error is not None:
            raise self.error
        found: dict[str, object] = json.loads(self.body)
        return found


@contextlib.contextmanager
def fronted(limits: Limits | None = None) -> Iterator[Front]:
    front = Front("127.0.0.1", 0, limits)
    front.start()
    try:
        yield front
    finally:
        front.close()


@pytest.fixture
def front() -> Iterator[Front]:
    with fronted() as front:
        yield front


@pytest.fixture
def engine() -> Iterator[Callable[[str], Engine]]:
    made: list[Engine] = []

    def make(name: str) -> Engine:
        made.append(Engine(name))
        return made[-1]

    yield make
    for each in made:
        each.may_answer.set()
        each.shutdown()
        each.server_close()


def ask(
    front: Front, path: str, body: bytes | None = None, connection: object = None, **headers: str
) -> Asking:
    asking = Asking()
    method = "GET" if body is None else "POST"

    def act() -> None:
        kept = connection if isinstance(connection, http.client.HTTPConnection) else None
        own = kept or http.client.HTTPConnection("127.0.0.1", front.port, timeout=SECONDS)
        try:
            own.request(method, path, body, headers)
            response = own.getresponse()
            asking.status, asking.headers = response.status, dict(response.headers)
            asking.body = response.read()
        except (OSError, http.client.HTTPException) as error:
            asking.error = error
        finally:
            if kept is None:
                own.close()

    asking.thread = threading.Thread(target=act, daemon=True)
    asking.thread.start()
    return asking


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.01)


def n_held(front: Front, n_requests: int) -> Callable[[], bool]:
    """Whether so many are held, by what the front says to an order that changes nothing."""

    def found() -> bool:
        said = front._obeyed({"stage": "holding", "seconds": 2.0})
        return bool(said["holding"] == n_requests)

    return found


def test_requests_are_passed_on_whole(front, engine):
    front.open(engine("one").port)

    assert ask(front, "/a?b=c").answer == {"engine": "one", "n_bytes": 0}
    assert ask(front, "/a", b"x").answer == {"engine": "one", "n_bytes": 1}
    assert ask(front, "/a", LARGE).answer == {"engine": "one", "n_bytes": len(LARGE)}


def test_before_there_is_an_engine_each_is_told_that_one_is_loading(front):
    asking = ask(front, "/v1/models")

    assert asking.answer["error"]["message"] == "Loading model"
    assert asking.status == 503


def test_held_requests_go_to_the_next_engine(front, engine):
    front.open(engine("one").port)
    front.hold(2.0)
    small = [ask(front, "/a", b"x") for _ in range(4)]
    large = ask(front, "/a", LARGE)
    stream = ask(front, "/stream")
    until(n_held(front, 6))

    held = front.open(engine("two").port)

    assert [asking.answer for asking in small] == [{"engine": "two", "n_bytes": 1}] * 4
    assert large.answer == {"engine": "two", "n_bytes": len(LARGE)}
    stream.thread.join(SECONDS)
    assert stream.body == b"token\r\n\n" * 3
    assert (held.n_requests, held.n_refused) == (6, 0)
    assert held.longest_seconds > 0


def test_a_connection_that_is_kept_outlives_its_engine(front, engine):
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=SECONDS)
    front.open(engine("one").port)
    assert ask(front, "/a", b"x", connection).answer["engine"] == "one"
    own = connection.sock

    front.hold(2.0)
    asking = ask(front, "/a", b"xy", connection)
    until(n_held(front, 1))
    front.open(engine("two").port)

    assert asking.answer == {"engine": "two", "n_bytes": 2}
    assert connection.sock is own
    connection.close()


def test_what_is_being_answered_is_waited_for(front, engine):
    one = engine("one")
    front.open(one.port)
    one.may_answer.clear()
    asking = ask(front, "/a", b"x")
    until(lambda: one.asked == ["/a"])

    front.hold(2.0)
    assert not front.drained(0.2)
    one.may_answer.set()
    assert front.drained(SECONDS)
    assert asking.answer["engine"] == "one"


def test_who_was_cut_off_before_a_word_is_answered_by_the_next(front, engine):
    front.open(engine("one").port)
    one = engine("held up")
    front.open(one.port)
    one.may_answer.clear()
    asking = ask(front, "/die", LARGE[:100_000])
    until(lambda: one.asked == ["/die"])
    front.hold(2.0)
    one.may_answer.set()
    until(n_held(front, 1))

    two = engine("two")
    two.may_answer.set()
    front.open(two.port)

    assert asking.thread is not None
    asking.thread.join(SECONDS)
    assert two.asked == ["/die"]
    # It ends that one as well, and nothing is being changed any more.
    assert asking.status == 502


def test_health_says_during_a_switch_that_others_should_be_asked(front, engine):
    front.open(engine("one").port)
    front.hold(600.0)

    asking = ask(front, "/health")

    assert asking.answer["error"]["message"] == "Loading model"
    assert asking.status == 503
    assert 500 < int(asking.headers["Retry-After"]) <= 600


def test_too_many_are_refused_and_told_when_to_come_again(engine):
    with fronted(Limits(n_held=2)) as front:
        front.hold(2.0)
        waiting = [ask(front, "/a", b"x") for _ in range(2)]
        until(n_held(front, 2))
        late = ask(front, "/a", LARGE)

        assert "Too many" in str(late.answer)
        assert late.status == 503
        assert late.headers["Retry-After"] in ("1", "2")
        held = front.open(engine("one").port)
        assert [asking.answer["engine"] for asking in waiting] == ["one", "one"]
        assert (held.n_requests, held.n_refused) == (2, 1)


def test_who_has_waited_too_long_is_told_so(engine):
    with fronted(Limits(held_seconds=0.2)) as front:
        front.hold(0.0)
        asking = ask(front, "/a", LARGE)

        assert "not there yet" in str(asking.answer)
        assert (asking.status, asking.headers["Retry-After"]) == (503, "1")
        assert front.open(engine("one").port).n_refused == 1


@pytest.mark.parametrize(("n_bytes", "is_reset"), [(1, False), (100_000, False), (1 << 20, True)])
def test_who_goes_away_while_held_is_forgotten(front, engine, n_bytes, is_reset):
    front.hold(2.0)
    with socket.create_connection(("127.0.0.1", front.port)) as gone:
        gone.setblocking(False)
        head = b"POST /gone HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % n_bytes
        gone.send(head + LARGE[:n_bytes])
        until(n_held(front, 1))
        if is_reset:
            # What is not taken yet would be sent before the end is.
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(n_held(front, 0))

    one = engine("one")
    front.open(one.port)

    assert ask(front, "/a", b"x").answer["engine"] == "one"
    assert one.asked == ["/a"]


def test_who_goes_away_while_being_answered_is_known_to_be_gone_to_the_engine(front, engine):
    one = engine("one")
    one.may_answer.clear()
    front.open(one.port)
    with socket.create_connection(("127.0.0.1", front.port)) as gone:
        gone.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert gone.recv(100).startswith(b"HTTP/1.1 200")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.may_answer.set()
    until(lambda: front._obeyed({"stage": "holding"})["active"] == 0)


def test_an_engine_that_does_not_run_is_said_to_be_away(front):
    with port_of_our_own("127.0.0.1") as port:
        front.open(port)
        asking = ask(front, "/a", b"x")

        assert "does not run" in str(asking.answer)
        assert (asking.status, asking.headers["Retry-After"]) == (503, "1")


def test_an_engine_that_ends_over_a_request_is_not_hidden(front, engine):
    front.open(engine("one").port)

    asking = ask(front, "/die", b"x")

    assert "ended before" in str(asking.answer)
    assert asking.status == 502


def test_a_body_in_chunks_and_one_that_asks_first_arrive(front, engine):
    front.open(engine("one").port)
    chunks = (
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    careful = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    for words, more in ((chunks, b""), (careful, b"xy")):
        with socket.create_connection(("127.0.0.1", front.port), timeout=SECONDS) as asking:
            asking.sendall(words)
            if more:
                assert asking.recv(100).startswith(b"HTTP/1.1 100 ")
                asking.sendall(more)
            text = b""
            while b"}" not in text:
                text += asking.recv(1000)
            assert b'"n_bytes": %d' % (len(more) or 3) in text


def test_two_requests_sent_at_once_are_both_answered(front, engine):
    one = engine("one")
    front.open(one.port)
    with socket.create_connection(("127.0.0.1", front.port), timeout=SECONDS) as asking:
        asking.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
        text = b""
        while piece := asking.recv(1000):
            text += piece

    assert text.count(b" 200 OK\r\n") == 2
    assert one.asked == ["/a", "/b"]


KEY = b"Authorization: Bearer 5ecret\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n" + KEY


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"hello 5ecret\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: 5ecret" + b"x" * 70_000, 431),
        (b"GET /" + b"x" * 70_000, 431),
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
        (POST + b"Content-Length: +4\r\n\r\nabcd", 400),
        (POST + b"Content-Length : 4\r\n\r\nabcd", 400),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"X: a\0b\r\n\r\n", 400),
        (POST + b"X: a\xe9b\r\n\r\n", 400),
        (b"GET @127.0.0.2/ HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n", 400),
        (b"CONNECT 127.0.0.2:80 HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n", 400),
    ],
    ids=[
        *("no HTTP", "an endless head", "an endless line", "a length and chunks", "two lengths"),
        *("a signed length", "a space before a colon", "unknown chunks", "a NUL", "no UTF-8"),
        *("an address that would be another", "a tunnel"),
    ],
)
def test_what_is_no_request_is_refused_and_its_words_are_kept(engine, words, status):
    with fronted() as front:
        one = engine("one")
        front.open(one.port)
        with socket.create_connection(("127.0.0.1", front.port), timeout=SECONDS) as asking:
            asking.sendall(words)
            text = asking.recv(10_000)

    assert text.split()[1] == b"%d" % status
    assert b"5ecret" not in text
    assert one.asked == []
    assert front._last_words == ""


def test_what_is_between_two_neighbours_stays_there_and_all_else_is_passed_on_as_it_is(
    front, engine
):
    front.open(engine("one").port)
    path = "/echo%2Fa/../b//c?d=%20&e=f+g&%7e"
    own = {"Connection": "keep-alive, X-Mine", "X-Mine": "1", "Upgrade": "websocket", "TE": "gzip"}
    passed = {"Authorization": "Bearer 5ecret", "Cookie": 'a=1; b="2"', "X-Text": "ä ö"}
    asking = ask(front, path, **own, **{k: v.encode() for k, v in passed.items()})
    assert asking.thread is not None
    asking.thread.join(SECONDS)

    found_path, headers = json.loads(gzip.decompress(asking.body))

    assert found_path == path
    found = {name: value.encode("latin-1").decode() for name, value in headers}
    assert found == {
        "Host": f"127.0.0.1:{front.port}",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **passed,
    }
    assert asking.headers["Content-Encoding"] == "gzip"
    assert "X-Own" not in asking.headers


def test_only_the_head_is_passed_on_of_what_has_no_body(front, engine):
    front.open(engine("one").port)
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=SECONDS)
    for _ in range(2):
        connection.request("HEAD", "/")
        response = connection.getresponse()

        assert (response.headers["Content-Length"], response.read()) == ("1234", b"")
    connection.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_answer_that_is_cut_off_does_not_look_whole(front, engine, version):
    one = engine("one")
    one.dies_while_streaming = True
    front.open(one.port)
    with socket.create_connection(("127.0.0.1", front.port), timeout=SECONDS) as asking:
        asking.sendall(f"GET /stream HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            while asking.recv(1000):
                pass


def test_one_that_is_killed_is_started_again_and_nobody_is_refused(front, engine):
    front.open(engine("one").port)
    os.kill(front.pid, signal.SIGKILL)
    asking = ask(front, "/a", b"x")

    until(front.mend)

    assert asking.answer["engine"] == "one"
    assert not front.mend()


def test_one_that_is_killed_while_it_holds_holds_again(front, engine):
    front.hold(2.0)
    os.kill(front.pid, signal.SIGKILL)
    until(front.mend)
    asking = ask(front, "/a", b"x")
    until(n_held(front, 1))

    front.open(engine("one").port)

    assert asking.answer["engine"] == "one"


def test_one_that_ends_again_and_again_is_given_up(front):
    def give_up() -> None:
        for _ in range(20):
            os.kill(front.pid, signal.SIGKILL)
            until(front.mend)

    with pytest.raises(LaunchFailed, match="as soon as"):
        give_up()


def test_it_gets_no_secret_of_the_environment(monkeypatch):
    secrets = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MODAL_TOKEN_SECRET", "MY_OWN_PASSWORD")
    for name in secrets:
        monkeypatch.setenv(name, "not-for-everybody")
    monkeypatch.setenv("PYTHONUTF8", "1")

    with fronted() as front:
        until(lambda: b"ggufctl.front" in Path(f"/proc/{front.pid}/cmdline").read_bytes())
        environ = Path(f"/proc/{front.pid}/environ").read_bytes()

    assert b"not-for-everybody" not in environ
    assert b"PYTHONUTF8=1" in environ


@pytest.fixture
def at_start(tmp_path, monkeypatch) -> Callable[[str], None]:
    """Lets every Python that is started from here do something first."""
    others = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path), others))))

    def write(code: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(code)

    return write


def test_what_it_complains_of_at_length_does_not_hold_it_up(at_start, engine):
    at_start("import sys\nfor n in range(4096):\n    print('x' * 256, n, file=sys.stderr)\n")

    with fronted() as front:
        front.open(engine("one").port)

        assert ask(front, "/a").answer == {"engine": "one", "n_bytes": 0}
        until(lambda: front._last_words.endswith("x 4095"))


def test_one_that_cannot_start_is_given_up_with_its_last_words(at_start):
    at_start(
        "import os\nos.write(2, b'no room sk-0123456789abcdef0123456789abcdef\\n')\nos._exit(3)\n"
    )

    def give_up(front: Front) -> None:
        for _ in range(20):
            until(front.mend)

    with fronted() as front, pytest.raises(LaunchFailed, match=r"with 3\. Its words: no room …$"):
        give_up(front)


def test_once_left_the_port_is_free_and_who_was_held_is_told(front):
    front.hold(2.0)
    asking = ask(front, "/a", b"x")
    until(n_held(front, 1))

    front.leave()

    assert "stopped" in str(asking.answer)
    front.close()
    front.close()
    socket.create_server(("127.0.0.1", front.port)).close()


def test_it_ends_with_who_started_it():
    code = (
        "import time; from ggufctl.services.front import Front; f = Front('127.0.0.1', 0); "
        "f.start(); f.hold(1.0); print(f.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen((sys.executable, "-c", code), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()

    assert serving.is_gone(pid)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchFailed, match=f"Port {port}"):
            Front("127.0.0.1", port)
