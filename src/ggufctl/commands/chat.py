"""`ggufctl chat`: one question from a script, or a conversation on a terminal."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggufctl import completion
from ggufctl.commands import options as o
from ggufctl.commands.output import is_terminal, print_json, print_line, say
from ggufctl.errors import GgufctlError, UsageError

if TYPE_CHECKING:
    from ggufctl.client import Piece
    from ggufctl.core.conversation import Conversation, Image, Line
    from ggufctl.remote.supervisor import Event, OnEvent
    from ggufctl.services.chat import Answer, Chat
    from ggufctl.services.serve import LocalPlan
    from ggufctl.services.target import Target

__all__ = ["register"]

EXAMPLES = """\b
Examples:
  ggufctl chat smollm2                                    # a conversation; /help inside
  ggufctl chat smollm2 "What is gravity?"
  ggufctl chat org/repo:Q4_K_M                            # served here as long as it lasts
  git diff | ggufctl chat smollm2 "Explain:" -            # - is standard input
  ggufctl chat https://host/v1 --system-file pirate.txt --temp 0.8
  ggufctl chat smollm2 --questions questions.txt --json   # one document a line
  ggufctl chat vision "What is this?" --image photo.jpg

\b
Exit codes:
  0  ok                         8  the server failed, or the answer broke off
  2  usage, also the server's   9  not ready in time
  3  nothing of that name     130  Ctrl-C
  4  the key is not accepted  143  SIGTERM"""

MAX_SECONDS = 1e7
"""What no wait is longer than; the system's own clock has an end as well."""

MORE = "... "
PROMPT = "> "
_FENCE = '"""'
_TOLD = ("source", "fallback", "warning", "progress")
"""Of the start of a server, what is said without -v."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command(epilog=EXAMPLES)(o.with_runtime(chat))


def chat(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|URL|MODEL",
            help="A deployment of yours, any OpenAI-compatible address, or a model to serve here.",
            autocompletion=completion.deployments,
        ),
    ],
    runtime: o.RuntimeOptions,
    question: Annotated[
        list[str] | None, typer.Argument(metavar="[QUESTION]", help="What to ask; - reads stdin.")
    ] = None,
    questions: Annotated[
        str,
        typer.Option(
            "--questions", metavar="FILE", help="Ask each line of FILE, or of its JSON list."
        ),
    ] = "",
    history: Annotated[
        bool,
        typer.Option(
            "--history/--no-history",
            help="Whether a question of --questions knows of those before it.",
        ),
    ] = True,
    system: Annotated[
        str, typer.Option("-sys", "--system", metavar="TEXT", help="System prompt.")
    ] = "",
    system_file: Annotated[
        str, typer.Option("-sysf", "--system-file", metavar="FILE", help="System prompt in FILE.")
    ] = "",
    image: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="FILE", help="Send an image first; repeatable."),
    ] = None,
    load: Annotated[
        str, typer.Option("--load", metavar="FILE", help="Go on with a conversation of /save.")
    ] = "",
    model: Annotated[
        str, typer.Option("--model", metavar="ID", help="Which model, at a server of several.")
    ] = "",
    n_predict: Annotated[
        int | None, typer.Option("-n", "--predict", "--n-predict", help="Most tokens of an answer.")
    ] = None,
    temp: Annotated[
        float | None, typer.Option("--temp", "--temperature", help="0 = always the likeliest.")
    ] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="Share to pick from.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Tokens to pick from.")] = None,
    min_p: Annotated[float | None, typer.Option("--min-p", help="Least probability.")] = None,
    repeat_penalty: Annotated[
        float | None, typer.Option("--repeat-penalty", help="On repeating; 1 = none.")
    ] = None,
    presence_penalty: Annotated[
        float | None, typer.Option("--presence-penalty", help="On what was said; 0 = none.")
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option("--frequency-penalty", help="On what was said often; 0 = none.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("-s", "--seed", help="Same seed, same answer; -1 = random.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="Text that ends an answer; repeatable.")
    ] = None,
    chat_template: Annotated[
        str,
        typer.Option(
            "--chat-template",
            metavar="NAME|JINJA",
            help="Instead of the model's own, of a MODEL served here, such as chatml.",
        ),
    ] = "",
    chat_template_file: Annotated[
        str,
        typer.Option("--chat-template-file", metavar="FILE", help="The same, out of a file."),
    ] = "",
    chat_template_kwargs: Annotated[
        str,
        typer.Option(
            "--chat-template-kwargs",
            metavar="JSON",
            help="""For the template, at any llama-server: '{"enable_thinking": false}'.""",
        ),
    ] = "",
    reasoning: Annotated[
        bool | None,
        typer.Option(
            "--show-reasoning/--hide-reasoning",
            help="What the model thinks first, on stderr. [default: shown on a terminal]",
            show_default=False,
        ),
    ] = None,
    wait: o.Wait = None,
    timeout: Annotated[
        float,
        o.option(
            "--timeout", metavar="SECONDS", env="TIMEOUT", help="Longest silence in an answer."
        ),
    ] = 300.0,
    ctx_size: o.CtxSize = "",
    quant: o.Quant = "auto",
    engine: Annotated[
        str, o.option("--engine", env="ENGINE", help="For a MODEL: as ggufctl serve takes it.")
    ] = "auto",
    threads: Annotated[
        int, o.option("-t", "--threads", env="THREADS", help="For a MODEL: threads; 0 = automatic.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document for each answer.")
    ] = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Talk to a model: a deployment of yours, any OpenAI-compatible server, or a model served here.

    With a question it answers once; without one it converses on a terminal, or takes the
    question from standard input. Only answers are on stdout. A server that sleeps is waited
    for. Options of llama-server from -c on are for a MODEL, whose server ends with the chat.

    Keys come from the deployment's own file; for a URL from GGUFCTL_API_KEY, or, for OpenAI's
    address or OPENAI_BASE_URL, from OPENAI_API_KEY.
    """
    from ggufctl.client import Client
    from ggufctl.services.chat import Chat, Sampling
    from ggufctl.services.target import warnings_of

    _check_numbers(wait=wait, timeout=timeout)
    _check_finite(
        temp=temp,
        top_p=top_p,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
    )
    _check_ranges(temp=temp, top_p=top_p, min_p=min_p, threads=threads)
    quiet = quiet or ctx.obj["quiet"]
    verbose = (verbose or ctx.obj["verbose"]) and not quiet
    asked = _questions(question or (), questions)
    if not asked and not _is_interactive():
        asked = (_stdin(),)
    if not asked and as_json:
        raise UsageError("--json needs a question.", "Add one, or --questions FILE.")
    start = _beginning(system, system_file, load)
    images = _images(image or ())
    sampling = Sampling(
        temperature=temp,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        seed=seed,
        n_predict=n_predict,
        stop=tuple(stop or ()),
        template_kwargs=_template_kwargs(chat_template_kwargs),
    )
    listener = _listener(quiet=quiet, verbose=verbose)
    served = {
        "runtime": runtime,
        "n_ctx": o.context(ctx_size),
        "quant": quant,
        "engine": engine,
        "n_threads": threads,
        "max_context": o.is_max(ctx_size),
    }
    template = _template(chat_template, chat_template_file)
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(
            _opened(ctx, target, model, template, served, listener, quiet=quiet)
        )
        for text in () if quiet else warnings_of(found):
            say(f"warning: {text}")
        client = stack.enter_context(Client(found.endpoint, idle_seconds=timeout))
        talk = Chat(client, found, sampling, listener, limit_seconds=wait)
        session = Session(
            talk,
            start,
            images,
            as_json=as_json,
            is_many=len(asked) > 1,
            quiet=quiet,
            shows_reasoning=is_terminal() if reasoning is None else reasoning,
        )
        if asked:
            session.ask_all(asked, with_history=history)
        else:
            session.converse()


def _is_interactive() -> bool:
    if not sys.stdin.isatty():
        return False
    if not is_terminal():
        raise UsageError(
            "There is no question, and no terminal to converse on.",
            "Add a question, or - to read it from standard input.",
        )
    return True


def _questions(words: Sequence[str], path: str) -> tuple[str, ...]:
    if words and path:
        raise UsageError("Either a question or --questions, not both.")
    if path:
        from ggufctl.core.conversation import parse_questions
        from ggufctl.services.chat import read_text

        return parse_questions(_stdin() if path == "-" else read_text(path))
    if not words:
        return ()
    if sum(word == "-" for word in words) > 1:
        raise UsageError("Standard input can be read once only.")
    text = "\n".join(_stdin() if word == "-" else word for word in words)
    if not text.strip():
        raise UsageError("The question is empty.")
    return (text,)


def _stdin() -> str:
    from ggufctl.services.chat import MAX_TEXT_BYTES

    raw = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
    if len(raw) > MAX_TEXT_BYTES:
        raise UsageError(f"Standard input has more than {MAX_TEXT_BYTES >> 20} MiB.")
    text = raw.decode("utf-8", "replace").strip("\n")
    if not text.strip():
        raise UsageError("There is no question: standard input is empty.")
    return text


def _beginning(system: str, system_file: str, load: str) -> Conversation:
    from ggufctl.core.conversation import Conversation
    from ggufctl.services.chat import load_conversation, read_text

    if system and system_file:
        raise UsageError("Either --system or --system-file, not both.")
    found = load_conversation(load) if load else Conversation()
    text = read_text(system_file).strip("\n") if system_file else system
    return replace(found, system=text or found.system)


def _images(paths: Sequence[str]) -> tuple[Image, ...]:
    from ggufctl.services.chat import load_image

    return tuple(load_image(path) for path in paths)


def _template(text: str, path: str) -> str:
    if text and path:
        raise UsageError("Either --chat-template or --chat-template-file, not both.")
    if not path:
        return text if text.strip() else ""
    from ggufctl.core.escape import quoted
    from ggufctl.services.chat import read_text

    found = read_text(path)
    if not found.strip():
        raise UsageError(f"There is no chat template in {quoted(path)}.")
    return found


def _template_kwargs(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(
            "--chat-template-kwargs is no JSON object.",
            """It is written like '{"enable_thinking": false}'.""",
        )
    return found


def _check_numbers(*, wait: float | None, timeout: float) -> None:
    if not 0 < timeout < MAX_SECONDS or not 0 <= (wait or 0) < MAX_SECONDS:
        raise UsageError("--timeout and --wait are numbers of seconds above 0.")


def _check_finite(**given: float | None) -> None:
    for name, value in given.items():
        if value is not None and not math.isfinite(value):
            raise UsageError(f"--{name.replace('_', '-')} must be a number, not {value}.")


def _check_ranges(**given: float | None) -> None:
    """Refuse what no sampler can mean, where servers take it silently.

    Raises: UsageError.
    """
    for name, value in given.items():
        most = 1.0 if name in ("top_p", "min_p") else math.inf
        if value is not None and not 0 <= value <= most:
            wanted = "from 0 to 1" if most == 1.0 else "at least 0"
            raise UsageError(f"--{name.replace('_', '-')} must be {wanted}, not {value:g}.")


@contextlib.contextmanager
def _opened(
    ctx: typer.Context,
    text: str,
    model: str,
    template: str,
    served: dict[str, Any],
    listener: OnEvent,
    *,
    quiet: bool,
) -> Iterator[Target]:
    """The server to ask; one that is started for it ends with the block."""
    from ggufctl.commands.modal import has_token
    from ggufctl.services.target import Kind, kind_of

    kind = kind_of(text)
    if kind is not Kind.MODEL:
        found = _existing(text, model, has_token())
        if found is not None:
            _refuse_served(ctx, found, template)
            yield found
            return
    if model:
        raise UsageError("--model is for servers that run already.")
    from ggufctl.core.templates import template_args
    from ggufctl.services.chat import started_for_chat
    from ggufctl.services.serve import LocalRequest

    runtime = served["runtime"]
    if runtime.n_parallel is None:
        # One person asks one question at a time: further slots would only divide the context.
        served = {**served, "runtime": runtime.with_(n_parallel=1)}
    request = LocalRequest(model=text, port=0, engine_args=template_args(template), **served)

    def show(plan: LocalPlan) -> None:
        if not quiet:
            from ggufctl.render.serve import price_line

            say(price_line(plan), *(f"warning: {line}" for line in plan.warnings))

    with started_for_chat(request, listener, show) as target:
        yield target


def _existing(text: str, model: str, ask_modal: bool) -> Target | None:
    """The server of a name or address; None for a file of that name, which is a model."""
    from pathlib import Path

    from ggufctl.services.deployments import DeploymentNotFound
    from ggufctl.services.target import find_target

    try:
        return find_target(text, model, ask_modal=ask_modal)
    except DeploymentNotFound as error:
        if Path(text).exists():
            return None
        if "ggufctl logs" in error.hint:
            raise
        raise DeploymentNotFound(
            error.message,
            f"{error.hint} A model is written org/repo or ./file.gguf.".strip(),
        ) from None


def _refuse_served(ctx: typer.Context, target: Target, template: str) -> None:
    """Refuse options of a server that runs already, where the command line has them."""
    if template:
        from ggufctl.core.templates import template_args

        *switches, _ = template_args(template)
        text = template.strip() if "{" not in template else "…"
        raise UsageError(
            f"{target.name} runs with a chat template of its own: a request cannot bring another.",
            f"Serve the model with -- {' '.join(switches)} {text}, or chat with the model itself. "
            "--chat-template-kwargs goes with a request.",
        )
    own = [*o.RUNTIME_NAMES, "ctx_size", "quant", "engine", "threads"]
    for name in own:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            flag = "--" + name.replace("_", "-")
            raise UsageError(
                f"{flag} is a setting of a server, and {target.name} runs already.",
                "It goes with a MODEL, which is served for the chat.",
            )


def _listener(*, quiet: bool, verbose: bool) -> OnEvent:
    """Who hears what is waited for: a person, on stderr; a price is said in any case."""
    from ggufctl.core.escape import redact
    from ggufctl.render.serve import event_line

    def hear(event: Event) -> None:
        if event.kind == "log":
            if verbose:
                say(redact(event.text))
        elif event.kind == "price" or (event.kind == "waiting" and not quiet):
            say(redact(event.text))
        elif not quiet and (verbose or event.kind in _TOLD) and (line := event_line(event)):
            say(line)

    return hear


@dataclass(slots=True)
class Session:
    """What is said to one server, on a terminal or from a script."""

    chat: Chat
    conversation: Conversation
    images: tuple[Image, ...] = ()
    """To go with the next question."""
    as_json: bool = False
    is_many: bool = False
    quiet: bool = False
    shows_reasoning: bool = False
    was_interrupted: bool = False
    _is_thinking: bool = field(default=False, init=False)

    def ask_all(self, questions: Sequence[str], *, with_history: bool) -> None:
        """Ask one question after the other; the first that fails ends it."""
        for question in questions:
            before = self.conversation
            if self.is_many and is_terminal() and not self.as_json:
                from ggufctl.core.escape import escape_prose

                typer.echo(f"{PROMPT}{escape_prose(question)}")
            self._ask(question, is_stoppable=False)
            if not with_history:
                self.conversation = before

    def converse(self) -> None:
        """Answer what is typed until it ends."""
        from ggufctl.render.chat import greeting

        with contextlib.suppress(ImportError):
            # With it, input() has history and editing.
            import readline  # noqa: F401  # importing it is its use
        ready = self.chat.connect()
        if not self.quiet:
            say(greeting(self.chat.target, ready.about))
        while (text := self._read()) is not None:
            try:
                if not self._do(text):
                    return
            except GgufctlError as error:
                self._say_error(error)

    def _read(self) -> str | None:
        """What is typed next; None at the end, which a second Ctrl-C is."""
        while True:
            try:
                text = input(PROMPT)
                if text.strip().startswith(_FENCE):
                    text = self._read_block(text.strip().removeprefix(_FENCE))
            except EOFError:
                say("")
                return None
            except KeyboardInterrupt:
                say("")
                if self.was_interrupted:
                    raise
                self.was_interrupted = True
                say("Ctrl-C again leaves, as /exit does.")
                continue
            self.was_interrupted = False
            return text

    def _read_block(self, first: str) -> str:
        if first.endswith(_FENCE) and len(first) >= len(_FENCE):
            return first.removesuffix(_FENCE)
        lines = [first] if first else []
        while True:
            line = input(MORE)
            if line.rstrip().endswith(_FENCE):
                last = line.rstrip().removesuffix(_FENCE)
                return "\n".join([*lines, *([last] if last else [])])
            lines.append(line)

    def _do(self, text: str) -> bool:
        """Act on what was typed; whether to go on."""
        from ggufctl.core.conversation import LineKind, parse_line

        line = parse_line(text)
        if line.kind is LineKind.QUESTION:
            self._ask(line.text, is_stoppable=True)
        elif line.kind is LineKind.UNKNOWN:
            from ggufctl.core.escape import escape

            say(f"There is no {escape(line.text, 40)}; /help lists what there is.")
        elif line.kind is LineKind.COMMAND:
            return self._command(line)
        return True

    def _command(self, line: Line) -> bool:
        from ggufctl.core.escape import escape_prose
        from ggufctl.render.chat import help_lines
        from ggufctl.services import chat as service

        argument = line.argument
        match line.text:
            case "/exit":
                return False
            case "/help":
                say(*help_lines())
            case "/clear":
                self.conversation, self.images = self.conversation.cleared(), ()
                say("Forgotten.")
            case "/system" if argument:
                text = "" if argument == "-" else argument
                self.conversation = replace(self.conversation, system=text)
                say("The system prompt is set." if text else "There is no system prompt now.")
            case "/system":
                say(escape_prose(self.conversation.system) or "There is no system prompt.")
            case "/retry":
                self._retry()
            case "/save" | "/load" | "/image" if not argument:
                say(f"{line.text} needs the name of a file.")
            case "/save":
                service.save_conversation(self.conversation, argument)
                say("Saved.")
            case "/load":
                self.conversation, self.images = service.load_conversation(argument), ()
                say(f"{len(self.conversation.messages)} messages.")
            case "/image":
                self.chat.check_images()
                self.images = (*self.images, service.load_image(argument))
                say("It goes with the next question.")
        return True

    def _retry(self) -> None:
        found = self.conversation.last_question
        if found is None:
            say("Nothing was asked yet.")
            return
        before, images = self.conversation, self.images
        self.conversation, self.images = before.without_question(), found[1].images
        try:
            self._ask(found[1].text, is_stoppable=True)
        except BaseException:
            self.conversation = before
            raise
        finally:
            self.images = images

    def _ask(self, question: str, *, is_stoppable: bool) -> None:
        """Ask, show the answer as it comes, and remember both."""
        if self.images:
            self.chat.check_images()
        asked = self.conversation.asked(question, self.images)
        self._is_thinking = False
        try:
            answer = self.chat.ask(asked, self._show, is_stoppable=is_stoppable)
        except BaseException:
            self._end_line()
            raise
        self.images = ()
        if answer.finish_reason == "interrupted":
            self.was_interrupted = True
        self.conversation = asked.answered(answer.text)
        self._finish(answer)

    def _show(self, piece: Piece) -> None:
        from ggufctl.core.escape import escape_prose
        from ggufctl.render.chat import dim

        if piece.reasoning and self.shows_reasoning:
            self._is_thinking = True
            text = dim(escape_prose(piece.reasoning), is_terminal=sys.stderr.isatty())
            typer.echo(text, err=True, nl=False)
        if piece.text and not self.as_json:
            if self._is_thinking:
                self._end_line()
            typer.echo(escape_prose(piece.text), nl=False)

    def _end_line(self) -> None:
        """Begin a new line where one was left open for what is still to come."""
        if self._is_thinking:
            typer.echo("", err=True)
            self._is_thinking = False
        elif not self.as_json and is_terminal():
            typer.echo("")

    def _finish(self, answer: Answer) -> None:
        from ggufctl.render.chat import dim, speed_line
        from ggufctl.report.chat import answer_report

        if self._is_thinking:
            self._end_line()
        if self.as_json:
            report = answer_report(answer, self.chat.target)
            if self.is_many:
                print_line(report)
            else:
                print_json(report)
        elif not answer.text.endswith("\n"):
            typer.echo("")
        if not self.quiet:
            is_terminal_there = sys.stderr.isatty()
            width = shutil.get_terminal_size().columns if is_terminal_there else 0
            say(dim(speed_line(answer, width), is_terminal=is_terminal_there))

    def _say_error(self, error: GgufctlError) -> None:
        from ggufctl.core.escape import redact

        say(
            f"error: {redact(error.message)}", *([f"hint: {redact(error.hint)}"] * bool(error.hint))
        )
