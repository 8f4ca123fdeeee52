"""Everything ggufctl can fail with, and the exit code of each.

::

    GgufctlError                      1   a bug of ours, if it is ever seen bare
    ├── UsageError                    2   the request makes no sense as written
    │   ├── AmbiguousReference        2   several models match: the choices are listed
    │   └── RefusedSettings           2   llama.cpp refuses this combination of options
    ├── ModelNotFound                 3   no such repository, file or quant
    ├── AccessDenied                  4   gated, private, or a bad token
    ├── DoesNotFit                    5   no allowed GPU holds it
    ├── InvalidGguf                   6   broken, truncated or hostile file; a shard missing
    ├── UnsupportedModel              7   not GGUF, or an architecture llama.cpp does not know
    ├── RemoteError                   8   network, rate limit, offline
    ├── LaunchFailed                  9   started, never healthy, or no place for its state
    ├── NoDiagnosis                  10   nothing recognised in the log
    └── CheckFailed                  11   a check FAILed

Output that cannot be written ends with 1 as well, as with the GNU tools; a reader that goes away
is no failure. Exit codes are part of the public contract: they change only with a major version.
"""

from __future__ import annotations

__all__ = [
    "AccessDenied",
    "AmbiguousReference",
    "CheckFailed",
    "DoesNotFit",
    "GgufctlError",
    "InvalidGguf",
    "LaunchFailed",
    "ModelNotFound",
    "NoDiagnosis",
    "RefusedSettings",
    "RemoteError",
    "UnsupportedModel",
    "UsageError",
]


class GgufctlError(Exception):
    """Any failure of ggufctl: one sentence, and where there is one, the next step.

    Args:
        message: what went wrong, in one sentence, safe to print.
        hint: what to do next, or the empty string.
    """

    exit_code = 1
    code = "bug"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GgufctlError):
    """The request makes no sense as written."""

    exit_code = 2
    code = "usage"


class AmbiguousReference(UsageError):
    """Several models match a reference.

    Args:
        message: which reference, and why it is ambiguous.
        choices: the references that would be unambiguous.
        hint: what to do next.
    """

    code = "ambiguous_reference"

    def __init__(self, message: str, choices: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint)
        self.choices = choices


class RefusedSettings(UsageError):
    """llama.cpp itself refuses this combination of options for this model."""

    code = "refused_settings"


class ModelNotFound(GgufctlError):
    """No such repository, revision, file or quant."""

    exit_code = 3
    code = "model_not_found"


class AccessDenied(GgufctlError):
    """Gated or private, or the token is missing, wrong or expired."""

    exit_code = 4
    code = "access_denied"


class DoesNotFit(GgufctlError):
    """No allowed GPU holds the model with these settings."""

    exit_code = 5
    code = "does_not_fit"


class InvalidGguf(GgufctlError):
    """The file is not a whole, well-formed GGUF that can be trusted."""

    exit_code = 6
    code = "invalid_gguf"


class UnsupportedModel(GgufctlError):
    """Not a GGUF model, or one that the pinned llama.cpp cannot run."""

    exit_code = 7
    code = "unsupported_model"


class RemoteError(GgufctlError):
    """The network, the Hub or another remote service failed."""

    exit_code = 8
    code = "remote_error"


class LaunchFailed(GgufctlError):
    """A server did not come up: it never became healthy, or nothing could be kept of it."""

    exit_code = 9
    code = "launch_failed"


class NoDiagnosis(GgufctlError):
    """Nothing in the log is recognised."""

    exit_code = 10
    code = "no_diagnosis"


class CheckFailed(GgufctlError):
    """A check of the system, a model or an app FAILed."""

    exit_code = 11
    code = "check_failed"
