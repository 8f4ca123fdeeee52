"""Checks of a deployment on Modal: its state, and what its last lines show; nothing is started."""

from __future__ import annotations

from dataclasses import dataclass, field

from ggufctl.core.checks import Check, Status
from ggufctl.core.diagnosis import LogReport, diagnose_chunks
from ggufctl.core.escape import escape, redact_url
from ggufctl.errors import UsageError
from ggufctl.services.deploy import find_modal, modal_log

__all__ = ["AppReport", "check_app"]

N_LINES = 2000
"""How much of the log is read."""


@dataclass(frozen=True, slots=True)
class AppReport:
    """What was found out about a deployment."""

    checks: tuple[Check, ...]
    log: LogReport
    facts: dict[str, str | int] = field(default_factory=dict)


def check_app(name: str) -> AppReport:
    """Check a deployment by its state and its last log lines.

    Its address is not asked, since that would start a GPU.

    Raises: DeploymentNotFound; AccessDenied without a token; RemoteError.
    """
    deployment = find_modal(name.removeprefix("ggufctl-"))
    lines = list(modal_log(deployment.name, n_lines=N_LINES))
    *_, report = diagnose_chunks(f"{line}\n".encode() for line in lines)
    if not isinstance(report, LogReport):
        raise UsageError("There is no log.")
    n = deployment.n_containers
    since = f" since {deployment.deployed_at:%Y-%m-%d %H:%M}" if deployment.deployed_at else ""
    where = f" at {redact_url(deployment.url)}" if deployment.url else ""
    state = Check(
        "app",
        Status.PASS,
        f"{escape(deployment.name)} is deployed{since}{where}, with {n} containers.",
    )
    facts: dict[str, str | int] = {
        "app": escape(deployment.name),
        "app_id": escape(deployment.app_id),
        "n_containers": n,
        "n_lines": report.n_lines,
    }
    return AppReport((state, _log_check(report)), report, facts)


def _log_check(report: LogReport) -> Check:
    if report.diagnoses:
        first = report.diagnoses[0]
        fix = first.fix[0] if first.fix else ""
        shown = tuple(f"line {e.line}: {e.text}" for e in first.evidence[:2])
        return Check("log", Status.FAIL, first.cause, fix, shown)
    if not report.n_lines:
        text = "The log is empty: no container has started yet, or its lines have expired."
        return Check("log", Status.WARN, text, "Ask the server for something and look again.")
    text = f"Nothing wrong is found in the last {report.n_lines} lines of the log."
    return Check("log", Status.PASS, text)
