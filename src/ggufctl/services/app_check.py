"""Checks of a deployment on Modal: its state, what its last lines show, and its containers."""

from __future__ import annotations

from dataclasses import dataclass, field

from ggufctl.core.checks import Check, Status
from ggufctl.core.diagnosis import LogReport, diagnose_chunks
from ggufctl.core.escape import escape, redact_url
from ggufctl.errors import UsageError
from ggufctl.remote.supervisor import OnEvent
from ggufctl.services.modal import find_modal, modal_log
from ggufctl.services.modal.live_check import check_live
from ggufctl.services.modal.plan import ignore

__all__ = ["AppReport", "check_app"]

N_LINES = 2000
"""How much of the log is read."""


@dataclass(frozen=True, slots=True)
class AppReport:
    """What was found out about a deployment."""

    checks: tuple[Check, ...]
    log: LogReport
    facts: dict[str, str | int] = field(default_factory=dict)


def check_app(name: str, *, live: bool = False, on_event: OnEvent = ignore) -> AppReport:
    """Check a deployment by its state and its last log lines.

    Its address is not asked, since that would start a GPU.

    Args:
        name: as `ps` shows it, or the app's.
        live: start one container as the deployment has them, and look around in it as well.
        on_event: hears of the price before that.

    Raises: DeploymentNotFound; AccessDenied without a token; RemoteError; as `check_live`.
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
    inside = check_live(deployment.name, on_event) if live else ()
    return AppReport((state, _log_check(report), *inside), report, facts)


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
