"""The entry point: the only place that turns errors into text and exit codes."""

from __future__ import annotations

import os
import sys

from ggufctl.errors import AmbiguousReference, GgufctlError

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from ggufctl._version import VERSION

        sys.stdout.write(f"ggufctl {VERSION}\n")
        return
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    import signal

    signal.signal(signal.SIGTERM, _terminate)
    from ggufctl.cli import UsageException, make_command

    as_json = "--json" in arguments
    try:
        code = make_command().main(arguments, prog_name="ggufctl", standalone_mode=False)
        sys.stdout.flush()
    except GgufctlError as error:
        if os.environ.get("GGUFCTL_DEBUG") == "1":
            raise
        _quietly_flush()
        _print_error(error, as_json=as_json)
        return error.exit_code
    except UsageException as error:
        return _usage(error, as_json=as_json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_stdout()
        return 1
    return code if isinstance(code, int) else 0


def _terminate(signum: int, frame: object) -> None:
    raise SystemExit(143)


def _usage(error: Exception, *, as_json: bool) -> int:
    """An error in the arguments, said as all others are."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{error}\n")
        return 2
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    command = getattr(context, "command_path", "ggufctl")
    from ggufctl.errors import UsageError

    _print_error(UsageError(message, f"Try '{command} --help'."), as_json=as_json)
    return int(getattr(error, "exit_code", 2))


def _print_error(error: GgufctlError, *, as_json: bool) -> None:
    from ggufctl.core.escape import redact

    lines = [f"error: {redact(error.message)}"]
    choices = error.choices if isinstance(error, AmbiguousReference) else ()
    if choices:
        lines += [f"  {redact(choice)}" for choice in choices]
    if error.hint:
        lines += ["", f"hint: {redact(error.hint)}"]
    if as_json:
        import json

        body: dict[str, object] = {
            "code": error.code,
            "message": redact(error.message),
            "hint": redact(error.hint),
        }
        if choices:
            body["choices"] = [redact(choice) for choice in choices]
        lines.append(json.dumps({"error": body}))
    sys.stderr.write("\n".join(lines) + "\n")


def _quietly_flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()


def _drop_stdout() -> None:
    """Nobody reads on: keep the interpreter from complaining about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
