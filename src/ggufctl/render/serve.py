"""What serving says, as plain text: no markup, so that nothing of a model's can become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.engine_log import HOST, Phase
from ggufctl.core.escape import escape, redact

if TYPE_CHECKING:
    from ggufctl.core.engine_log import Comparison
    from ggufctl.remote.supervisor import Event
    from ggufctl.services.demo import DemoResult
    from ggufctl.services.deployments import Deployment
    from ggufctl.services.serve import LocalPlan, LocalServer

__all__ = [
    "demo_lines",
    "deployment_rows",
    "event_line",
    "memory_lines",
    "plan_lines",
    "price_line",
    "show_deployments",
    "summary_lines",
    "switched_lines",
]

LEAST_MODEL = 12
"""Columns that the models of a table are given at least, where they are shown.  [characters]"""

_MIB = 1 << 20


def price_line(plan: LocalPlan) -> str:
    """What it costs, before anything is started."""
    return f"$0.00 per hour, used or idle: this machine ({escape(plan.where)})"


def plan_lines(plan: LocalPlan) -> list[str]:
    """The plan for this machine: engine, settings, memory by term."""
    estimate = plan.estimate
    slots = "slot" if estimate.n_seq_max == 1 else "slots"
    lines = [
        f"model    {escape(plan.model.ref)} ({plan.model.size_bytes / _MIB:.1f} MiB)",
        f"engine   {plan.found.label} (planned for {LLAMA_CPP_BUILD})",
        f"context  {estimate.n_ctx} tokens, {estimate.n_seq_max} {slots} of {estimate.n_ctx_seq}",
        "memory   planned",
    ]
    rows = [(device.name, term) for device in estimate.devices for term in device.terms]
    rows += [("host", term) for term in estimate.host.terms]
    lines += [
        f"  {where:<6} {term.name:<16} {_mib(term.n_bytes)}" for where, term in rows if term.n_bytes
    ]
    lines.append(f"  {'total':<23} {_mib(plan.memory_bytes)}")
    if plan.download_bytes:
        lines.append(f"download {plan.download_bytes / _MIB:.1f} MiB")
    return lines


def memory_lines(rows: Iterable[Comparison], replanned: Iterable[str] = ()) -> list[str]:
    """Planned and actual memory as a table, with a verdict under it.

    Args:
        rows: term by term.
        replanned: arguments of the engine's that change what was planned.
    """
    rows, replanned = tuple(rows), tuple(replanned)
    lines = [f"memory   {'':<16} {'planned':>12} {'actual':>12}"]
    for row in rows:
        mark = "" if row.is_as_planned or replanned else "  <- not as planned"
        note = f"  ({row.note})" if row.note else ""
        lines.append(
            f"  {row.device:<6} {row.term:<16} {_mib(row.planned_bytes)} "
            f"{_mib(row.actual_bytes)}{note}{mark}"
        )
    if replanned:
        lines.append(f"After --, {', '.join(replanned)} changed what was planned.")
    elif not all(row.is_as_planned for row in rows):
        lines.append("A term is outside the range it was planned in: this is a bug of ggufctl's.")
    return lines


def summary_lines(server: LocalServer, *, is_in_front: bool = True) -> list[str]:
    """How to use the server, what it costs, how to stop it."""
    plan, deployment = server.plan, server.deployment
    durations = server.supervisor.durations if server.supervisor is not None else {}
    phases = " · ".join(f"{phase} {seconds:.1f} s" for phase, seconds in durations.items())
    lines = [
        f"{deployment.name} answers at {deployment.url}",
        "",
        f"engine   {plan.found.label} (planned for {LLAMA_CPP_BUILD})",
        f"on       {escape(plan.where)}",
        f"start    {phases}",
        *memory_lines(server.comparison, server.replanned),
        "",
    ]
    bearer = ""
    key = '"none"'
    if deployment.key_file:
        lines.append(f"export GGUFCTL_API_KEY=$(cat {_shell(deployment.key_file)})")
        bearer = ' -H "Authorization: Bearer $GGUFCTL_API_KEY"'
        key = 'os.environ["GGUFCTL_API_KEY"]'
    lines += _snippets(deployment, bearer, key, is_embedding=plan.runtime.embeddings)
    lines += ["", "cost     $0.00 per hour, used or idle: this machine"]
    here = "Ctrl-C here, or " if is_in_front else ""
    lines.append(f"stop     {here}ggufctl stop {deployment.name}")
    return lines


def _snippets(deployment: Deployment, bearer: str, key: str, *, is_embedding: bool) -> list[str]:
    url, model = deployment.url, deployment.alias
    if is_embedding:
        body = f'{{"model": "{model}", "input": "Hello"}}'
        path, call = "embeddings", f'client.embeddings.create(model="{model}", input="Hello")'
    else:
        body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
        path = "chat/completions"
        call = (
            f'client.chat.completions.create(model="{model}", '
            'messages=[{"role": "user", "content": "Hello"}])'
        )
    return [
        f"curl {url}/{path}{bearer} -H 'Content-Type: application/json' -d '{body}'",
        "",
        "import os, openai",
        f'client = openai.OpenAI(base_url="{url}", api_key={key})',
        f"print({call})",
    ]


def switched_lines(document: Mapping[str, Any]) -> list[str]:
    """What runs after a switch, out of its document."""
    memory = [
        f"  {row['device']:<6} {row['term']:<16} {_mib(row['planned_bytes'])} "
        f"{_mib(row['actual_bytes'])}"
        for row in document["memory"]
    ]
    is_on_cpu = all(row["device"] == HOST for row in document["memory"])
    devices = "CPU" if is_on_cpu else "; ".join(escape(str(d)) for d in document["devices"])
    return [
        f"{document['name']} answers at {document['url']} again",
        f"on       {devices}",
        f"context  {document['n_ctx']} tokens, {document['n_parallel']} × {document['n_ctx_slot']}",
        f"memory   {'':<16} {'planned':>12} {'actual':>12}",
        *memory,
    ]


def event_line(event: Event) -> str:
    """One line about an event; empty for those that only a log or a program wants."""
    at = f"[{event.seconds:6.1f} s]"
    match event.kind:
        case "source" | "fallback" | "warning":
            return redact(event.text)
        case "start":
            return f"{at} engine started"
        case "phase" if event.text == Phase.FIRST_TOKEN:
            return f"{at} healthy, asked for a first token"
        case "phase":
            return (
                f"{at} {event.text} (after {event.data.get('took', 0):.1f} s of "
                f"{event.data.get('after', '')})"
            )
        case "progress":
            return f"{at} {event.text}"
        case "stopping" | "switch":
            return f"{at} {event.text}"
        case "stopped":
            return f"{at} stopped"
        case _:
            return ""


def demo_lines(result: DemoResult) -> list[str]:
    """The answer, how fast it came, and how the plan held."""
    answer = result.answer
    return [
        f"question {result.question}",
        f"answer   {escape(' '.join(answer.text.split()))}",
        f"speed    {answer.tokens_per_second:.1f} tokens/s ({answer.n_tokens} tokens), "
        f"ready after {result.startup_seconds:.1f} s",
        *memory_lines(result.comparison),
        f"model    from {result.source}",
    ]


def deployment_rows(found: Iterable[Deployment]) -> list[str]:
    """Deployments as tab-separated rows under their titles; nothing is cut."""
    titles = ("NAME", "WHERE", "STATUS", "MODEL", "ENGINE", "URL", "USD/H", "STARTED")
    rows = [
        (
            d.name,
            d.where,
            d.status,
            escape(d.model),
            f"{d.engine} {d.build}",
            d.url,
            f"{d.usd_per_hour:.2f}",
            d.started_at,
        )
        for d in found
    ]
    return ["\t".join(row) for row in (titles, *rows)]


def show_deployments(rows: Sequence[str], *, width: int | None = None) -> None:
    """The rows of `deployment_rows` as a table of the terminal's width, without the engines."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=width)
    columns: dict[str, list[str]] = {
        title: [] for title in ("name", "where", "status", "$/h", "started", "url", "model")
    }
    for row in rows[1:]:
        name, where, status, model, _, url, usd, started = row.split("\t")
        if where == "local" and model.casefold().endswith(".gguf"):
            # A path is of no use here, and long.
            model = model.rpartition("/")[2]
        cells = (name, where, status, usd, started[5:16].replace("T", " "), url, model)
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)

    def spare() -> int:
        """Characters that the columns but the last leave when nothing is wrapped."""
        return console.width - sum(
            max(map(len, (title, *cells))) + 1
            for title, cells in columns.items()
            if title != "model"
        )

    # An address is there to be copied: other columns give way to it.
    if spare() < LEAST_MODEL:
        del columns["model"]
        if spare() < -1:
            del columns["started"]
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style=""
    )
    for title in columns:
        is_whole = title not in ("url", "model") or (title == "url" and spare() >= -1)
        justify: Literal["left", "right"] = "right" if title == "$/h" else "left"
        table.add_column(title, justify=justify, no_wrap=is_whole, overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    console.print(table)


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / _MIB:>8.2f} MiB"


def _shell(text: str) -> str:
    import shlex

    return shlex.quote(text)
