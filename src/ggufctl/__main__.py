"""The entry point: the only place that turns errors into text and exit codes."""

from __future__ import annotations

# The interpreter has these in itself, `_signal` too: `signal` takes longer than all of them.
import _signal  # type: ignore[import-not-found]  # typeshed has only what is made of it
import errno
import os
import sys


def _leave(signum: int, frame: object) -> None:
    """End at once: nothing was begun that would have to be ended in order."""
    os._exit(128 + signum)


def _is_program() -> bool:
    """Whether this is what was called, and not a module that somebody imports."""
    return __name__ == "__main__" or os.path.basename(sys.argv[0]).startswith("ggufctl")


# Before all other imports: a Ctrl-C during one of them would be shown as where it broke off.
if _is_program() and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _leave)

from ggufctl.errors import AmbiguousReference, GgufctlError  # noqa: E402  # as said above

__all__ = ["main"]

_OF_OUTPUT = frozenset({errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT})
"""What only writing to standard output fails with: sources turn their own errors into ours."""

_OF_FILES = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOSPC}
)
"""What a named file that cannot be made fails with, such as a shell's settings for completion."""

_COMPLETION = frozenset({"--install-completion", "--show-completion"})


def main() -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:]
    _prepare_streams()
    if arguments in (["--version"], ["-V"]):
        from ggufctl._version import VERSION

        sys.exit(_written(f"ggufctl {VERSION}\n", 0))
    sys.exit(_run(arguments))


def _prepare_streams() -> None:
    """Make both streams take any text, also where they are closed or know few characters."""
    if sys.stdin is None:
        _occupied(os.O_WRONLY)
    if sys.stdout is None:
        # Output that is asked for and lost is an error, told when something is written.
        taken = _occupied(os.O_RDONLY)
        sys.stdout = open(taken, "w", encoding="utf-8")  # noqa: SIM115  # as long as the process
    if sys.stderr is None:
        sys.stderr = open(_occupied(os.O_WRONLY), "w", encoding="utf-8")  # noqa: SIM115  # likewise
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None and "utf" not in (sys.stdout.encoding or "").lower():
        reconfigure(errors="replace")


def _occupied(flags: int) -> int:
    """The lowest free descriptor, which no file that is opened later can become then."""
    descriptor = os.open(os.devnull, flags)
    os.set_inheritable(descriptor, True)
    return descriptor


def _run(arguments: list[str]) -> int:
    import signal

    signal.signal(signal.SIGTERM, _terminate)
    hang_up = getattr(signal, "SIGHUP", None)
    # Under nohup, which ignores it, everything goes on when the terminal is closed.
    if hang_up is not None and signal.getsignal(hang_up) is signal.SIG_DFL:
        signal.signal(hang_up, _terminate)
    try:
        from ggufctl.cli import UsageException, make_command
    except KeyboardInterrupt:
        return 130
    as_json = "--json" in arguments
    try:
        if signal.getsignal(signal.SIGINT) is _leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if not _COMPLETION.isdisjoint(arguments):
            _require_shell()
        code = make_command(arguments).main(arguments, prog_name="ggufctl", standalone_mode=False)
    except GgufctlError as error:
        if os.environ.get("GGUFCTL_DEBUG") == "1":
            raise
        _flushed(0)
        _print_error(error, as_json=as_json)
        return error.exit_code
    except UsageException as error:
        return _usage(error, arguments, as_json=as_json)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _unwritten(error)
    except SystemExit as stop:
        # Typer makes this of a reader that goes away.
        if stop.code == 1 and isinstance(stop.__context__, OSError):
            return _unwritten(stop.__context__)
        raise
    return _flushed(code if isinstance(code, int) else 0)


def _require_shell() -> None:
    """What Typer prints as data, and only after it has gone wrong, said as any other error.

    Raises: UsageError when no shell called us.
    """
    import shellingham

    try:
        shellingham.detect_shell()
    except shellingham.ShellDetectionFailure:
        from ggufctl.errors import UsageError

        raise UsageError(
            "Which shell to complete for cannot be told: no shell called this program.",
            "Call it at the prompt of bash, zsh, fish or PowerShell.",
        ) from None


def _terminate(signum: int, frame: object) -> None:
    """End in good order, once: `timeout` and service managers may say it twice."""
    import signal

    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
        if number is not None:
            signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + signum)


def _usage(error: Exception, arguments: list[str], *, as_json: bool) -> int:
    """An error in the arguments, said as all others are."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return _written(f"{error}\n", 2)
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if message[-1:] not in ".?!":
        message += "."
    named = [] if not arguments or arguments[0].startswith("-") else arguments[:1]
    # Without a context it is about an option whose argument is missing.
    command = context.command_path if context is not None else " ".join(["ggufctl", *named])
    from ggufctl.errors import UsageError

    hint = f"Try '{command} --help'."
    if type(error).__name__ == "NoSuchOption":
        from ggufctl.commands.unplanned import explain_unplanned

        said = explain_unplanned(command.rpartition(" ")[2], arguments)
        name = str(getattr(error, "option_name", ""))
        whole = [a for a in arguments if a.startswith(name) and len(a) > len(name) == 2]
        if said is not None:
            message, hint = said[0], said[1] or hint
        elif whole:
            # Read as a row of short options, of which only the first is named otherwise.
            message = f"No such option: {whole[0].partition('=')[0]}."
    _print_error(UsageError(message, hint), as_json=as_json)
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


def _written(text: str, code: int) -> int:
    """As `_flushed`, with one more text."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        return _unwritten(error) or code
    return _flushed(code)


def _flushed(code: int) -> int:
    """The exit code once everything is written, or that of what kept it from being so."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _unwritten(error) or code
    return code


def _unwritten(error: OSError) -> int:
    """Exit code for output that could not be written; nobody reading on is no failure.

    Raises: the error itself when it is about something else.
    """
    if error.filename is not None and error.errno in _OF_FILES:
        if os.environ.get("GGUFCTL_DEBUG") == "1":
            raise error
        path = error.filename if isinstance(error.filename, str) else repr(error.filename)
        sys.stderr.write(f"error: {path!r} cannot be written: {error.strerror}.\n")
        return 1
    if error.errno not in _OF_OUTPUT:
        raise error
    from ggufctl.stdout import drop_stdout

    drop_stdout()
    if isinstance(error, BrokenPipeError):
        return 0
    reason = "standard output is closed" if error.errno == errno.EBADF else error.strerror
    sys.stderr.write(f"error: The output cannot be written: {reason}.\n")
    return 1


if __name__ == "__main__":
    main()
