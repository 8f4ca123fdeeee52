"""Diagnoses as documents and as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ggufctl.core.checks import Check, Status
from ggufctl.core.diagnosis import Diagnosis, LogReport
from ggufctl.core.escape import escape, redact
from ggufctl.core.logfacts import LogFacts
from ggufctl.core.units import format_gib
from ggufctl.report import SCHEMA_VERSION

__all__ = [
    "announcement",
    "app_report",
    "check_lines",
    "checks_report",
    "log_lines",
    "log_report",
]

_SHOWN_FIXES = 3
_SHOWN_EVIDENCE = 2
_SHOWN_REMARKS = 5
_LINE = 160


def log_report(report: LogReport) -> dict[str, Any]:
    """The document of a log."""
    facts = report.facts
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "log",
        "diagnoses": [_diagnosis(found) for found in report.diagnoses],
        "remarks": [_diagnosis(found) for found in report.remarks],
        "checks": [],
        "facts": {
            "engine": redact(facts.engine),
            "build": redact(facts.build),
            "model": redact(facts.model),
            "path": redact(facts.path),
            "architecture": redact(facts.architecture),
            "quant": redact(facts.quant),
            "devices": [redact(device) for device in facts.devices],
            "memory": [
                {"device": redact(term.device), "term": term.term, "n_bytes": term.n_bytes}
                for term in facts.memory
            ],
            "offloaded": facts.offloaded,
            "n_layers": facts.n_layers,
            "n_ctx": facts.n_ctx,
            "n_ctx_slot": facts.n_ctx_slot,
            "n_slots": facts.n_slots,
            "cache_type_k": facts.cache_type_k,
            "cache_type_v": facts.cache_type_v,
            "n_ubatch": facts.n_ubatch,
            "flash_attn": facts.flash_attn,
            "prompt_tokens_per_second": facts.prompt_tokens_per_second,
            "tokens_per_second": facts.tokens_per_second,
            "free_bytes": {redact(name): n for name, n in facts.free_bytes.items()},
            "n_lines": report.n_lines,
            "is_up": report.is_up,
        },
    }


def checks_report(
    kind: str, checks: Sequence[Check], facts: Mapping[str, str | int]
) -> dict[str, Any]:
    """The document of a machine or a model."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "diagnoses": [_of_check(check) for check in checks if check.status is Status.FAIL],
        "remarks": [_of_check(check) for check in checks if check.status is Status.WARN],
        "checks": [
            {
                "id": check.id,
                "status": check.status.value,
                "text": check.text,
                "fix": check.fix,
                "details": list(check.details),
            }
            for check in checks
        ],
        "facts": dict(facts),
    }


def app_report(
    report: LogReport, checks: Sequence[Check], facts: Mapping[str, str | int]
) -> dict[str, Any]:
    """The document of a deployment: causes are those of its log."""
    document = checks_report("app", checks, facts)
    document["diagnoses"] = [_diagnosis(found) for found in report.diagnoses]
    document["remarks"] = [_diagnosis(found) for found in report.remarks]
    return document


def _diagnosis(found: Diagnosis) -> dict[str, Any]:
    return {
        "id": found.id,
        "severity": found.severity.value,
        "cause": found.cause,
        "fix": list(found.fix),
        "evidence": [{"line": e.line, "text": e.text} for e in found.evidence],
        "confidence": found.confidence,
        "n_lines": found.n_lines,
    }


def _of_check(check: Check) -> dict[str, Any]:
    return {
        "id": check.id,
        "severity": "fatal" if check.status is Status.FAIL else "remark",
        "cause": check.text,
        "fix": [check.fix] if check.fix else [],
        "evidence": [],
        "confidence": 1.0,
        "n_lines": 0,
    }


def announcement(found: Diagnosis) -> str:
    """One line about a cause that was just read."""
    return f"line {found.evidence[0].line}: {found.cause}"


def log_lines(report: LogReport) -> list[str]:
    """A log's causes, remarks and facts on one screen."""
    lines: list[str] = []
    facts = [f"{name}: {value}" for name, value in fact_lines(report.facts)]
    if not (report.diagnoses or report.remarks or facts or report.is_up):
        what = "The log is empty" if not report.n_lines else "This looks like no log that is known"
        return [f"{what}: there is nothing of llama.cpp in it, nor of what runs it."]
    if not report.diagnoses:
        lines.append("Nothing wrong found.")
    for number, found in enumerate(report.diagnoses):
        lines += _cause_lines(found, is_first=number == 0)
    for found in report.remarks[:_SHOWN_REMARKS]:
        lines.append(f"remark: {found.cause}")
        if not report.diagnoses:
            lines += [f"  fix: {text}" for text in found.fix[:_SHOWN_FIXES]]
    if len(report.remarks) > _SHOWN_REMARKS:
        lines.append(f"remark: and {len(report.remarks) - _SHOWN_REMARKS} more (--json)")
    if facts:
        lines += ["", *facts]
    return [escape(line) for line in lines]


def _cause_lines(found: Diagnosis, *, is_first: bool) -> list[str]:
    label = "cause" if is_first else "also"
    lines = [f"{label}: {found.cause} [{found.id}]"]
    shown = found.evidence[: _SHOWN_EVIDENCE if is_first else 1]
    lines += [f"  line {e.line}: {e.text[:_LINE]}" for e in shown]
    if found.n_lines > len(shown):
        n_more = found.n_lines - len(shown)
        lines.append(f"  and {n_more} more line{'s' if n_more > 1 else ''}")
    lines += [f"  fix: {text}" for text in found.fix[: _SHOWN_FIXES if is_first else 1]]
    return lines


def fact_lines(facts: LogFacts) -> list[tuple[str, str]]:
    """What a log shows, by name."""
    model = " · ".join(
        redact(part) for part in (facts.model, facts.architecture, facts.quant) if part
    )
    slot = f", {facts.n_ctx_slot} per slot" if facts.n_ctx_slot else ""
    slots = f", {facts.n_slots} slots" if facts.n_slots else ""
    types = f", cache {facts.cache_type_k}/{facts.cache_type_v}" if facts.cache_type_k else ""
    rows = [
        ("model", model),
        ("build", " ".join(redact(part) for part in (facts.engine, facts.build) if part)),
        ("devices", "; ".join(redact(device) for device in facts.devices[:4])),
        *((f"memory of {redact(device)}", text) for device, text in _memory_rows(facts)),
        ("offload", f"{facts.offloaded} of {facts.n_layers} layers" if facts.n_layers else ""),
        ("context", f"{facts.n_ctx}{slot}{slots}{types}" if facts.n_ctx else ""),
        ("speed", _speed(facts)),
    ]
    return [(name, value) for name, value in rows if value]


def _memory_rows(facts: LogFacts) -> list[tuple[str, str]]:
    rows: dict[str, list[str]] = {}
    for term in facts.memory:
        size = f"{format_gib(term.n_bytes, digits=2)} GiB"
        rows.setdefault(term.device, []).append(f"{term.term} {size}")
    return [(device, ", ".join(terms)) for device, terms in list(rows.items())[:4]]


def _speed(facts: LogFacts) -> str:
    parts = []
    if facts.prompt_tokens_per_second:
        parts.append(f"prompt {facts.prompt_tokens_per_second:.1f} tokens/s")
    if facts.tokens_per_second:
        parts.append(f"generation {facts.tokens_per_second:.1f} tokens/s")
    return ", ".join(parts)


def check_lines(checks: Sequence[Check], *, quiet: bool = False) -> list[str]:
    """Checks as lines, each with its fix below it."""
    lines: list[str] = []
    for check in checks:
        if quiet and check.status is not Status.FAIL:
            continue
        lines.append(f"{check.status.value}  {check.text}")
        lines += [f"        {detail}" for detail in check.details]
        if check.fix and check.status is not Status.PASS:
            lines.append(f"      fix: {check.fix}")
    return [escape(line) for line in lines]
