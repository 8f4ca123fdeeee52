"""What serving on Modal says, as plain text: nothing of a model's can become markup."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.escape import escape, redact
from ggufctl.core.units import n_of
from ggufctl.render.plan import economics_lines
from ggufctl.render.serve import memory_lines
from ggufctl.report.modal import usd_of

if TYPE_CHECKING:
    from ggufctl.modal_app import ModalDeployment
    from ggufctl.remote.supervisor import Event
    from ggufctl.services.modal import ModalPlan, ModalServer

__all__ = ["dry_run_lines", "event_line", "modal_rows", "plan_lines", "summary_lines"]


def plan_lines(plan: ModalPlan) -> list[str]:
    """What would be deployed."""
    spec = plan.spec
    lines = [
        f"model    {escape(spec.model)} ({spec.size_bytes / 1e9:.2f} GB)",
        f"gpu      {' or '.join(spec.gpus) or 'none'}",
        f"engine   {spec.engine} ({LLAMA_CPP_BUILD})",
        f"context  {spec.n_ctx} tokens, {spec.slots} slots",
        f"memory   {spec.planned_bytes / 2**30:.2f} GiB planned on the GPU",
    ]
    lines += economics_lines(plan.economics)
    return lines + [f"warning  {text}" for text in plan.warnings]


def dry_run_lines(plan: ModalPlan) -> list[str]:
    """Everything that would happen."""
    spec = plan.spec
    return [
        f"cost     {plan.price_text}",
        *plan_lines(plan),
        f"app      {spec.app}, image {spec.image}",
        f"host     {spec.cpu:g} cores, {spec.memory_mib / 1024:g} GiB",
        f"weights  {n_of(len(spec.files), 'file')} on the Volume {spec.volume}, fetched if missing",
        f"limit    {spec.startup_timeout} s to start, at most "
        f"{n_of(spec.max_containers, 'container')}",
        f"auth     {spec.auth}" + (f", in the Secret {spec.secret}" if spec.secret else ""),
        f"run      llama-server {shlex.join(spec.argv)}"
        if spec.engine == "llama-server"
        else f"run      python -m llama_cpp.server {shlex.join(spec.argv)}",
    ]


def summary_lines(server: ModalServer) -> list[str]:
    """How to use the server, what it costs, how to stop it."""
    spec = server.spec
    phases = " · ".join(f"{phase} {took:.1f} s" for phase, took in server.durations.items())
    gpu = server.gpu
    on = f"{gpu['name']}, driver {gpu.get('driver', '?')}" if gpu else ", ".join(spec.gpus) or "CPU"
    lines = [
        f"{spec.name} answers at {server.base_url}",
        "",
        f"engine   {spec.engine} {escape(str(server.found.get('build', '')), 80)} "
        f"(planned for {LLAMA_CPP_BUILD})",
        f"on       {escape(on)}",
        f"start    {phases}",
        *(memory_lines(server.comparison) if server.comparison else []),
        "",
    ]
    lines += _how_to_ask(server)
    lines += [
        "",
        f"cost     {server.plan.price_text}",
        "         while it is cold it answers 503 until it is up: retry"
        if not spec.hold_requests
        else "         requests are held while it starts",
        f"stop     ggufctl stop {spec.name}",
    ]
    return lines


def _how_to_ask(server: ModalServer) -> list[str]:
    spec, url = server.spec, server.base_url
    lines, header, key, more = [], "", '"none"', ""
    if spec.auth == "key":
        if server.key is not None:
            lines.append(f"export GGUFCTL_API_KEY=$(cat {shlex.quote(str(server.key.path))})")
        header = ' -H "Authorization: Bearer $GGUFCTL_API_KEY"'
        key = 'os.environ["GGUFCTL_API_KEY"]'
    elif spec.auth == "proxy":
        header = ' -H "Modal-Key: $MODAL_KEY" -H "Modal-Secret: $MODAL_SECRET"'
        more = (
            ', default_headers={"Modal-Key": os.environ["MODAL_KEY"], '
            '"Modal-Secret": os.environ["MODAL_SECRET"]}'
        )
    if spec.is_embedding:
        path, body = "embeddings", f'{{"model": "{spec.alias}", "input": "Hello"}}'
        call = f'client.embeddings.create(model="{spec.alias}", input="Hello")'
    else:
        path = "chat/completions"
        messages = '[{"role": "user", "content": "Hello"}]'
        body = f'{{"model": "{spec.alias}", "messages": {messages}}}'
        call = f'client.chat.completions.create(model="{spec.alias}", messages={messages})'
    return [
        *lines,
        f"curl {url}/{path}{header} -H 'Content-Type: application/json' -d '{body}'",
        "",
        "import os, openai",
        f'client = openai.OpenAI(base_url="{url}", api_key={key}{more})',
        f"print({call})",
    ]


def modal_rows(found: Iterable[ModalDeployment]) -> list[str]:
    """Deployments as tab-separated rows, in the columns of those on this machine."""
    return [
        "\t".join(
            (
                each.name,
                "modal",
                each.status,
                escape(each.tags.get("model", "")),
                escape(f"{each.tags.get('engine', '')} on {each.tags.get('gpu', '')}"),
                f"{each.url}/v1" if each.url else "",
                f"{usd_of(each):.2f}",
                each.deployed_at.isoformat(timespec="seconds") if each.deployed_at else "",
            )
        )
        for each in found
    ]


def event_line(event: Event) -> str:
    """One line about an event; empty for those that only a log or a program wants."""
    at = f"[{event.seconds:6.1f} s]"
    if event.kind in ("price", "plan", "pick", "fallback", "warning", "source", "restored", "left"):
        return redact(event.text)
    if event.kind in ("weights", "download", "progress", "queued", "container", "stopped", "ready"):
        return f"{at} {redact(event.text)}"
    if event.kind == "deploy":
        return f"{at} deploying {event.text}"
    if event.kind == "deployed":
        return f"{at} deployed at {event.text}"
    if event.kind == "phase":
        took = event.data.get("took")
        after = f" (after {took:.1f} s of {event.data.get('after', '')})" if took else ""
        return f"{at} {event.text}{after}"
    if event.kind == "answer":
        return f"{at} first token at its address"
    return ""
