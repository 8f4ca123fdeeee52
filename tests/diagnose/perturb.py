"""Whether the root still comes first when a log reaches us by another way than it was written.

The logs of blind.jsonl that are told rightly are cut, prefixed, wrapped, mixed with others and
repeated, as collectors, consoles and people do; healthy ones must stay without blame. Of a few
changes part of the truth is lost with the text: what is cut off cannot be told.

    python -m tests.diagnose.perturb            # share that is told as before, by change
    python -m tests.diagnose.perturb 9999       # the same of so many logs instead of 300
    python -m tests.diagnose.perturb NAME ...   # which logs are told otherwise after it
"""

from __future__ import annotations

import html
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ggufctl.core.diagnosis import LogReport, diagnose_chunks
from tests.diagnose.blind import Case, cases, is_right

Lines = Sequence[str]
Change = Callable[[Lines], bytes | None]
"""Lines → the bytes in which they arrive; None where that makes no sense."""

HEALTHY = Path(__file__).parent.parent / "logs" / "healthy.log"
SEED = 20260401
N_FIRST = 3073
"""Logs that there were when the limits of test_perturb were set."""


@dataclass(frozen=True)
class Perturbation:
    """One way in which a log may reach us.

    Attributes:
        name: what is done.
        change: does it.
        may_be_survived: whether it is as right to blame nothing, as the engine is up in the end.
        of_engine: whether it only makes sense where the engine failed, and not who asks it.
        keeps_all: whether all that the log said is still there.
    """

    name: str
    change: Change
    may_be_survived: bool = False
    of_engine: bool = False
    keeps_all: bool = True


def joined(lines: Lines) -> bytes:
    """Lines as a file has them."""
    return ("\n".join(lines) + "\n").encode()


def each(form: Callable[[int, str], str]) -> Change:
    """Every line in another form, which may depend on its number."""
    return lambda lines: joined([form(n, line) for n, line in enumerate(lines)])


def clock(n: int) -> str:
    """A time of day, a second later for each line."""
    return f"{3 + n // 3600 % 20:02}:{n // 60 % 60:02}:{n % 60:02}"


def day(n: int) -> str:
    """The same with its day."""
    return f"2026-03-04T{clock(n)}"


def prefixes() -> Iterator[Perturbation]:
    """What collectors put in front of lines."""
    forms: dict[str, Callable[[int, str], str]] = {
        "compose": lambda n, s: f"llama-server-1  | {s}",
        "compose -t": lambda n, s: f"llama-1  | {day(n)}.123456789Z {s}",
        "kubectl --timestamps": lambda n, s: f"{day(n)}.123456789Z {s}",
        "kubectl --prefix": lambda n, s: f"[pod/llama-7d9f8b6c5d-x2x4z/server] {s}",
        "stern": lambda n, s: f"llama-7d9f8b6c5d-x2x4z server {s}",
        "kail": lambda n, s: f"default/llama-7d9f8b6c5d-x2x4z[server]: {s}",
        "cri": lambda n, s: f"{day(n)}.123456789+00:00 stderr F {s}",
        "journald": lambda n, s: f"Mar 04 {clock(n)} gpu-box llama-server[812]: {s}",
        "journald iso": lambda n, s: f"{day(n)}+0000 gpu-box ollama[812]: {s}",
        "journald iso-precise": lambda n, s: f"{day(n)}.123456+01:00 gpu-box ollama[812]: {s}",
        "rsyslog": lambda n, s: f"{day(n)}.123456+00:00 gpu-box llama: {s}",
        "rfc5424": lambda n, s: f"<30>1 {day(n)}.123Z gpu-box llama 812 - - {s}",
        "rfc3164": lambda n, s: f"<30>Mar  4 {clock(n)} gpu-box llama[812]: {s}",
        "modal": lambda n, s: f"{day(n)}Z ta-01KABCDEFGHJKMNPQRSTVWXYZ {s}",
        "modal dashboard": lambda n, s: f"Mar 04  {clock(n)}.123 | {s}",
        "github actions": lambda n, s: f"{day(n)}.1234567Z {s}",
        "act": lambda n, s: f"[ci/build]   | {s}",
        "gitlab": lambda n, s: f"{day(n)}.123456Z 01O {s}",
        "buildkit": lambda n, s: f"#12 {n}.234 {s}",
        "cloudwatch": lambda n, s: f"{day(n)}.123000+00:00 llama/server/0a1b2c3d4e5f60718293 {s}",
        "cloudwatch tab": lambda n, s: f"{1772593445123 + n * 1000}\t{s}",
        "loki logcli": lambda n, s: f'{day(n)}Z {{app="llama", pod="llama-0"}} {s}',
        "heroku": lambda n, s: f"{day(n)}.123456+00:00 app[web.1]: {s}",
        "fly": lambda n, s: f"{day(n)}Z app[e784927c4d5638] fra [info]{s}",
        "railway": lambda n, s: f"[inf]  {s}",
        "supervisord": lambda n, s: (
            f"{day(n).replace('T', ' ')},123 DEBG 'llama' stderr output: {s}"
        ),
        "pm2": lambda n, s: f"0|llama  | {s}",
        "pm2 time": lambda n, s: f"0|llama    | {day(n)}: {s}",
        "foreman": lambda n, s: f"{clock(n)} web.1   | {s}",
        "concurrently": lambda n, s: f"[0] {s}",
        "npm-run-all": lambda n, s: f"[server] {s}",
        "ansible": lambda n, s: f"fatal-free    {s}" if not s else f"        {s}",
        "ts": lambda n, s: f"Mar 04 {clock(n)} {s}",
        "ts -s": lambda n, s: f"00:00:{n % 60:02} {s}",
        "python logging": lambda n, s: f"{day(n).replace('T', ' ')},123 - server - INFO - {s}",
        "loguru": lambda n, s: f"{day(n).replace('T', ' ')}.123 | INFO     | app.run:pump:42 - {s}",
        "unix time": lambda n, s: f"{1772593445 + n}.123 {s}",
        "cat -n": lambda n, s: f"{n + 1:6}\t{s}",
        "grep -n": lambda n, s: f"{n + 1}:{s}",
        "grep -C": lambda n, s: f"{n + 1}{':' if n % 3 else '-'}{s}",
        "grep of files": lambda n, s: f"server.log:{n + 1}:{s}",
        "less -N": lambda n, s: f"{n + 1:7} {s}",
        "tail of files": lambda n, s: f"llama.log: {s}",
        "quoted": lambda n, s: f"> {s}",
        "quoted twice": lambda n, s: f"> > {s}",
        "bullets": lambda n, s: f"- {s}",
        "comment": lambda n, s: f"# {s}",
        "indented": lambda n, s: f"    {s}",
        "tabs in front": lambda n, s: f"\t\t{s}",
        "PowerShell": lambda n, s: (
            f"llama-server.exe : {s}\nAt line:1 char:1\n+ .\\llama-server.exe -m x.gguf 2> x.log\n"
            "+ ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~\n"
            f"    + CategoryInfo          : NotSpecified: ({s[:60]}:String) [], RemoteException\n"
            "    + FullyQualifiedErrorId : NativeCommandError\n "
            if n == 0
            else s
        ),
    }
    for name, form in forms.items():
        yield Perturbation(name, each(form))


def as_json(value: object) -> str:
    """A line of JSON."""
    return json.dumps(value, separators=(",", ":"))


def documents() -> Iterator[Perturbation]:
    """Lines within JSON, CSV and HTML."""
    forms: dict[str, Callable[[int, str], str]] = {
        "docker json-file": lambda n, s: as_json(
            {"log": s + "\n", "stream": "stderr", "time": f"{day(n)}.1Z"}
        ),
        "fluentd": lambda n, s: as_json(
            {"container_id": "0a1b", "source": "stderr", "message": s, "@timestamp": day(n)}
        ),
        "datadog": lambda n, s: as_json(
            {"id": "A1", "content": {"timestamp": day(n), "host": "gpu", "message": s}}
        ),
        "loki json": lambda n, s: as_json(
            {"labels": {"app": "llama"}, "line": s, "timestamp": f"{day(n)}Z"}
        ),
        "grafana json": lambda n, s: (
            ("[" if n == 0 else "") + as_json({"line": s, "timestamp": "1", "fields": {}}) + ","
        ),
        "gcp": lambda n, s: as_json({"severity": "ERROR", "textPayload": s, "insertId": "a1"}),
        "gcp structured": lambda n, s: as_json(
            {"severity": "INFO", "jsonPayload": {"message": s}, "timestamp": f"{day(n)}Z"}
        ),
        "journald json": lambda n, s: as_json({"MESSAGE": s, "_PID": "812", "PRIORITY": "6"}),
        "cloudwatch json": lambda n, s: as_json(
            {"timestamp": 1772593445123 + n, "message": s, "ingestionTime": 1772593445124}
        ),
        "vector": lambda n, s: as_json(
            {"file": "/var/log/llama.log", "host": "gpu", "message": s, "source_type": "file"}
        ),
        "elastic": lambda n, s: as_json(
            {"_index": "logs", "_source": {"@timestamp": day(n), "message": s}}
        ),
        "splunk": lambda n, s: as_json({"preview": False, "result": {"_raw": s, "host": "gpu"}}),
        "wrapped twice": lambda n, s: as_json({"log": as_json({"msg": s}) + "\n", "stream": "x"}),
        "grafana csv": lambda n, s: f'{1772593445123 + n},"{s.replace(chr(34), chr(34) * 2)}",a1',
        "loki csv": lambda n, s: (
            f'"{day(n)}Z","{{app=""llama""}}","{s.replace(chr(34), chr(34) * 2)}"'
        ),
        "tab separated": lambda n, s: f"{day(n)}.123Z\tllama\t{s}",
        "logfmt": lambda n, s: f"ts={day(n)}Z level=info app=llama msg={as_json(s)}",
        "html": lambda n, s: html.escape(s) + "<br>",
        "html entities": lambda n, s: html.escape(s),
        "backticks": lambda n, s: f"`{s}`",
        "python list": lambda n, s: f" {s!r},",
        "escaped quotes": lambda n, s: s.replace('"', '\\"'),
    }
    for name, form in forms.items():
        yield Perturbation(name, each(form))
    yield Perturbation("code fence", lambda lines: joined(["```", *lines, "```"]))
    yield Perturbation(
        "one json string", lambda lines: joined([as_json({"logs": "\n".join(lines), "id": 1})])
    )
    yield Perturbation(
        "details of html",
        lambda lines: joined(
            ["<details><summary>log</summary>", "", "```", *lines, "```", "</details>"]
        ),
    )


def wrapped(width: int) -> Change:
    """Lines broken at a column."""

    def change(lines: Lines) -> bytes | None:
        if all(len(line) <= width for line in lines):
            return None
        parts = [
            line[at : at + width] for line in lines for at in range(0, max(len(line), 1), width)
        ]
        return joined(parts)

    return change


def blank_doubled(lines: Lines) -> bytes:
    """With an empty line after each."""
    return joined([part for line in lines for part in (line, "")])


def typescript(lines: Lines) -> bytes:
    """As `script` writes it."""
    head = "Script started on 2026-03-04 03:04:05+00:00 [TERM=xterm-256color]\r\n"
    body = "".join(f"\x1b[?2004l\x1b[1;33m{line}\x1b[0m\x1b[K\r\n" for line in lines)
    return (head + body + "Script done on 2026-03-04 03:05:05+00:00\r\n").encode()


def writings() -> Iterator[Perturbation]:
    """The same text in other bytes."""
    yield Perturbation("script", typescript)
    yield Perturbation("crlf", lambda lines: joined(lines).replace(b"\n", b"\r\n"))
    yield Perturbation("cr only", lambda lines: joined(lines).replace(b"\n", b"\r"))
    yield Perturbation("utf-16", lambda lines: joined(lines).decode().encode("utf-16"))
    yield Perturbation(
        "utf-16 big-endian", lambda lines: b"\xfe\xff" + joined(lines).decode().encode("utf-16-be")
    )
    yield Perturbation("utf-8 bom", lambda lines: b"\xef\xbb\xbf" + joined(lines))
    yield Perturbation("latin-1", lambda lines: joined(lines).decode().encode("latin-1", "replace"))
    yield Perturbation("no end of line", lambda lines: joined(lines)[:-1])
    yield Perturbation("blank lines", blank_doubled)
    yield Perturbation("trailing spaces", each(lambda n, s: s + " " * 40))
    yield Perturbation("tabs for spaces", each(lambda n, s: s.replace("  ", "\t")))
    yield Perturbation("spaces as one", each(lambda n, s: " ".join(s.split())))
    yield Perturbation("nbsp", each(lambda n, s: s.replace("  ", "\u00a0 ")))
    yield Perturbation("no-break spaces", each(lambda n, s: s.replace(" ", "\u00a0")))
    yield Perturbation(
        "typographic quotes",
        each(lambda n, s: s.replace("'", "\u2019").replace(' "', " \u201c").replace('"', "\u201d")),
    )
    for width in (80, 100, 120):
        yield Perturbation(f"wrapped at {width}", wrapped(width))
    yield Perturbation("lower case", each(lambda n, s: s.lower()), keeps_all=False)
    yield Perturbation("upper case", each(lambda n, s: s.upper()), keeps_all=False)


def work(n_lines: int) -> list[str]:
    """A server that is up, and answers."""
    healthy = HEALTHY.read_text(encoding="utf-8").splitlines()
    lines = list(healthy)
    while len(lines) < n_lines:
        n = len(lines)
        lines += [
            f"1.{n // 60 % 60:02}.{n % 1000:03}.001 I slot launch_slot_: id  {n % 4} | task {n} | "
            "processing task",
            f"1.{n // 60 % 60:02}.{n % 1000:03}.002 I slot      release: id  {n % 4} | task {n} | "
            f"stop processing: n_tokens = {n % 4000}, truncated = 0",
            "srv  update_slots: all slots are idle",
            "srv  log_server_r: request: POST /v1/chat/completions 127.0.0.1 200",
        ]
    return lines[:n_lines]


def web(n: int) -> str:
    """A line of a web server at work."""
    return f'10.0.0.{n % 9} - - [04/Mar/2026:{clock(n)} +0000] "GET /api/{n} HTTP/1.1" 200 {n} "-"'


def alternating(first: Lines, second: Lines) -> list[str]:
    """Lines of two logs in turns."""
    n = max(len(first), len(second))
    return [line for i in range(n) for log in (first, second) if i < len(log) for line in (log[i],)]


def beside_a_server(lines: Lines) -> bytes:
    """Two containers of one compose project, of which one is healthy."""
    other = work(2 * len(lines))
    return joined(alternating([f"bad-1   | {s}" for s in lines], [f"good-1  | {s}" for s in other]))


def mixtures() -> Iterator[Perturbation]:
    """Other things in the same log."""
    yield Perturbation("beside a healthy server", beside_a_server)
    yield Perturbation(
        "beside a web server",
        lambda lines: joined(alternating(lines, [web(n) for n in range(2 * len(lines))])),
    )
    yield Perturbation("after 2000 healthy lines", lambda lines: joined([*work(2000), *lines]))
    yield Perturbation(
        "after 2000 requests", lambda lines: joined([*map(web, range(2000)), *lines])
    )
    yield Perturbation("fails again", lambda lines: joined([*lines, *lines]))
    yield Perturbation("fails ten times", lambda lines: joined(list(lines) * 10))
    yield Perturbation(
        "restart succeeds", lambda lines: joined([*lines, *work(400)]), may_be_survived=True
    )
    yield Perturbation(
        "newest first",
        lambda lines: joined([f"{day(n)}Z {s}" for n, s in enumerate(lines)][::-1]),
    )
    yield Perturbation("newest first, no times", lambda lines: joined(lines[::-1]))


FOLLOWS = {
    "502 of nginx": (
        "2026/03/04 03:04:05 [error] 29#29: *1 connect() failed (111: Connection refused) while "
        'connecting to upstream, client: 10.0.0.1, server: x, request: "POST /v1/chat/completions '
        'HTTP/1.1", upstream: "http://10.0.0.2:8080/v1/chat/completions", host: "x"',
        '10.0.0.1 - - [04/Mar/2026:03:04:05 +0000] "POST /v1/chat/completions HTTP/1.1" 502 150',
    ),
    "timeout of nginx": (
        "2026/03/04 03:04:05 [error] 29#29: *1 upstream timed out (110: Connection timed out) "
        "while reading response header from upstream, client: 10.0.0.1, server: x, request: "
        '"POST /v1/completions HTTP/1.1", upstream: "http://10.0.0.2:8080/v1/completions"',
    ),
    "openai client": (
        "Traceback (most recent call last):",
        '  File "/app/main.py", line 7, in <module>',
        "httpx.ConnectError: [Errno 111] Connection refused",
        "The above exception was the direct cause of the following exception:",
        "openai.APIConnectionError: Connection error.",
    ),
    "client timeout": (
        "Traceback (most recent call last):",
        '  File "/app/main.py", line 7, in <module>',
        "httpx.ReadTimeout: timed out",
        "openai.APITimeoutError: Request timed out.",
    ),
    "client 500": (
        "openai.InternalServerError: Error code: 500 - {'error': {'message': 'Internal Server "
        "Error', 'type': 'server_error'}}",
        "litellm.InternalServerError: InternalServerError: OpenAIException - Internal Server Error",
    ),
    "client 503": (
        "openai.InternalServerError: Error code: 503 - {'error': {'code': 503, 'message': 'Loading "
        "model', 'type': 'unavailable_error'}}",
    ),
    "probe": (
        "Warning  Unhealthy  12s (x9 over 2m)  kubelet  Startup probe failed: Get "
        '"http://10.42.0.9:8080/health": dial tcp 10.42.0.9:8080: connect: connection refused',
        "Warning  BackOff    2s (x7 over 1m)  kubelet  Back-off restarting failed container server "
        "in pod llama-0_default",
    ),
    "curl": (
        "curl: (7) Failed to connect to localhost port 8080 after 0 ms: Couldn't connect to server",
    ),
    "compose": (
        "dependency failed to start: container llama-1 is unhealthy",
        "llama-1 exited with code 1",
    ),
    "systemd": (
        "llama.service: Main process exited, code=exited, status=1/FAILURE",
        "llama.service: Failed with result 'exit-code'.",
        "llama.service: Scheduled restart job, restart counter is at 5.",
    ),
    "swap": (
        "[ERROR] process exited but not StateStopping, current state: starting, command: exit "
        "status 1",
        "[WARN] <llama> ExitError >> exit status 1, exit code: 1",
    ),
}
"""What others say of an engine that failed."""


def beside(before: Lines, after: Lines) -> Change:
    """Lines of another program before or after those of a log."""
    return lambda lines: joined([*before, *lines, *after])


def followers() -> Iterator[Perturbation]:
    """A second program that fails because the first did."""
    for name, others in FOLLOWS.items():
        yield Perturbation(f"then {name}", beside((), others), of_engine=True)
        yield Perturbation(f"before it {name}", beside(others, ()), of_engine=True)


def cuts() -> Iterator[Perturbation]:
    """Part of a log."""
    for n in (5, 10, 20):
        yield Perturbation(f"last {n} lines", tail(n), keeps_all=False)


def tail(n: int) -> Change:
    """The last lines of a log that has more, if what shows its root is among them."""

    def change(lines: Lines) -> bytes | None:
        if len(lines) <= n:
            return None
        found = report_of(joined(lines)).diagnoses
        first = len(lines) - n + 1
        if found and not any(e.line >= first for e in found[0].evidence):
            return None
        return joined(lines[-n:])

    return change


def report_of(data: bytes) -> LogReport:
    """What `diagnose` says of some bytes."""
    *_, report = diagnose_chunks([data])
    assert isinstance(report, LogReport)
    return report


def engine_causes() -> frozenset[str]:
    """Causes that keep an engine from starting or from serving, whoever asks it."""
    from ggufctl.core.signatures import Phase, Tier, files, gpu, memory, settings

    tables = (memory.SIGNATURES, files.SIGNATURES, gpu.SIGNATURES, settings.SIGNATURES)
    return frozenset(
        row.id
        for table in tables
        for row in table
        if row.tier is Tier.ROOT and row.phase is not Phase.DOWNLOAD
    )


PERTURBATIONS = (
    Perturbation("none", joined),
    *cuts(),
    *prefixes(),
    *documents(),
    *writings(),
    *mixtures(),
    *followers(),
)


def applies(perturbation: Perturbation, case: Case, of_engine: frozenset[str]) -> bool:
    """Whether a change makes sense for a log."""
    return not perturbation.of_engine or any(id in of_engine for id in case.expected[:1])


def holds(perturbation: Perturbation, case: Case) -> bool | None:
    """Whether a log is told as rightly after a change; None where it cannot be changed so."""
    data = perturbation.change(case.lines)
    if data is None:
        return None
    report = report_of(data)
    if case.is_healthy:
        return report.diagnoses == ()
    if perturbation.may_be_survived and not report.diagnoses:
        return report.is_up
    return any(found.id in case.expected for found in report.diagnoses[:1])


def chosen(names: Sequence[str] = ()) -> list[Perturbation]:
    """The changes of those names; all without any."""
    return [p for p in PERTURBATIONS if not names or p.name in names]


def sample(n: int) -> list[Case]:
    """Some logs that are told rightly, the same ones each time; all where there are not more.

    Those that were added later come last, so that they do not change which ones are drawn.
    """
    first, later = list(cases()[:N_FIRST]), list(cases()[N_FIRST:])
    for some in (first, later):
        random.Random(SEED).shuffle(some)
    return list(islice(filter(is_right, (*first, *later)), n))


def main() -> None:
    """Print the table, or what some changes do."""
    names = [word for word in sys.argv[1:] if not word.isdigit()]
    n_logs = next((int(word) for word in sys.argv[1:] if word.isdigit()), 300)
    some = sample(n_logs)
    of_engine = engine_causes()
    print("change\tlogs\tas before\thealthy without blame")
    for perturbation in chosen(names):
        results = {
            case.name: (case, result)
            for case in some
            if applies(perturbation, case, of_engine)
            and (result := holds(perturbation, case)) is not None
        }
        failing = [ok for case, ok in results.values() if not case.is_healthy]
        healthy = [ok for case, ok in results.values() if case.is_healthy]
        print(
            perturbation.name,
            len(failing),
            f"{sum(failing) / len(failing):.1%}" if failing else "-",
            f"{sum(healthy)} of {len(healthy)}" if healthy else "-",
            sep="\t",
            flush=True,
        )
        if names:
            for case, ok in results.values():
                if not ok:
                    data = perturbation.change(case.lines) or b""
                    told = ", ".join(found.id for found in report_of(data).diagnoses) or "-"
                    expected = ", ".join(case.expected) or "-"
                    print(f"  {case.name}\t{told}\tand not {expected}")


if __name__ == "__main__":
    main()
