"""What the Hub means by an answer of 400 and above, as the error to raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ggufctl.core.escape import quoted
from ggufctl.errors import AccessDenied, GgufctlError, ModelNotFound, RemoteError

__all__ = ["Asked", "explain_status"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the Hub was asked for, and by whom.

    Attributes:
        repo: `org/name`.
        revision: branch, tag or commit; empty for the default.
        endpoint: of the Hub, without a slash at the end.
        has_token: whether the question carried a token.
    """

    repo: str
    revision: str = ""
    endpoint: str = "https://huggingface.co"
    has_token: bool = False


def explain_status(status: int, headers: Mapping[str, str], asked: Asked) -> GgufctlError:
    """The error that a refusal of the Hub stands for, with what to do about it.

    Args:
        status: of the answer, 400 and above.
        headers: of the answer, names in lower case or case-insensitive.
        asked: for the words.

    Source: huggingface_hub utils/_http.py `hf_raise_for_status`.
    """
    code = headers.get("x-error-code", "")
    message = headers.get("x-error-message", "")
    name = quoted(asked.repo)
    page = f"{asked.endpoint}/{quote(asked.repo)}"
    if "expired" in message.lower() and status in (401, 403):
        return AccessDenied(
            "The Hub says that the token has expired.", "Make a new one and run `hf auth login`."
        )
    if "Invalid credentials" in message:
        return _bad_token()
    if code == "GatedRepo":
        if asked.has_token:
            return AccessDenied(
                f"{name} is gated, and the account of the token was not let in.",
                f"Accept its terms on {page} with that account; some authors then decide by hand.",
            )
        return AccessDenied(
            f"{name} is gated.", f"Accept its terms on {page}, then run `hf auth login`."
        )
    if message == "Access to this resource is disabled.":
        return AccessDenied(
            f"{name} was disabled by the Hub.", "Its files cannot be had: take another repository."
        )
    if code == "RevisionNotFound":
        return ModelNotFound(f"{name} has no revision {quoted(asked.revision or 'main')}.")
    if code == "EntryNotFound":
        return ModelNotFound(f"{name} has no such file.")
    if code == "RepoNotFound" or status == 404:
        if asked.has_token:
            return ModelNotFound(
                f"There is no repository {name} on the Hub.",
                "If it is private, the token must be of an account that may see it.",
            )
        return ModelNotFound(
            f"There is no repository {name} on the Hub.",
            "If it is private, run `hf auth login` first.",
        )
    if status == 401 and asked.has_token:
        return _bad_token()
    if status == 401:
        return AccessDenied(f"The Hub asks who wants to see {name}.", "Run `hf auth login`.")
    if status == 403:
        return AccessDenied(f"The Hub refuses access to {name}.")
    if status == 429:
        return RemoteError("The Hub asks to wait: too many requests.", "Try again later.")
    return RemoteError(f"The Hub failed with status {status} for {name}.")


def _bad_token() -> AccessDenied:
    return AccessDenied("The Hub refuses the token.", "Run `hf auth login`, or check HF_TOKEN.")
