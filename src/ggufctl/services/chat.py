"""Asking a model: one streamed answer at a time, waiting where the server has to start first."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufctl.client import Busy, Client, NotReady, Piece, Timings, pieces
from ggufctl.core.conversation import Conversation, Image, image_type
from ggufctl.core.escape import quoted
from ggufctl.errors import UsageError
from ggufctl.remote.supervisor import Event, OnEvent
from ggufctl.services import deployments
from ggufctl.services.target import Ready, Target, local_target, wait_until_ready

if TYPE_CHECKING:
    from ggufctl.services.serve import LocalPlan, LocalRequest

__all__ = [
    "Answer",
    "Chat",
    "Sampling",
    "load_conversation",
    "load_image",
    "read_text",
    "save_conversation",
    "started_for_chat",
]

BUSY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Pauses before a server that has too many requests is asked again."""

MAX_TEXT_BYTES = 16 << 20
"""Largest file of questions, prompts or a conversation that is read."""

MAX_IMAGE_BYTES = 64 << 20
"""Largest image that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are picked; None leaves it to the server.

    Attributes:
        temperature: 0 = always the likeliest.
        top_p: share of the probability to pick from.
        top_k: number of tokens to pick from.
        min_p: least probability, relative to the likeliest.
        repeat_penalty: of llama.cpp's; 1 = none.
        presence_penalty: of what was said at all; 0 = none.
        frequency_penalty: of what was said often; 0 = none.
        seed: the same seed gives the same answer; -1 = random.
        n_predict: most tokens of an answer; -1 = no limit.
        stop: texts that end an answer.
        template_kwargs: what the chat template is given beside the messages.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    n_predict: int | None = None
    stop: tuple[str, ...] = ()
    template_kwargs: Mapping[str, Any] | None = None

    def to_body(self) -> dict[str, Any]:
        """As fields of a request, in the words of OpenAI's API and of llama-server."""
        found: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repeat_penalty": self.repeat_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": None if self.seed == -1 else self.seed,
            "max_tokens": None if self.n_predict == -1 else self.n_predict,
            "stop": list(self.stop) or None,
            "chat_template_kwargs": dict(self.template_kwargs) if self.template_kwargs else None,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back to one question, and how fast."""

    question: str
    text: str
    reasoning: str
    finish_reason: str
    """`stop`, `length`, …; `interrupted` when it was stopped."""
    model: str
    n_prompt: int
    """Tokens of the whole prompt; 0 where the server does not say."""
    n_cached: int
    n_tokens: int
    """Of the answer; where the server does not say, pieces of it."""
    first_token_seconds: float
    seconds: float
    waited_seconds: float
    """For the server to start, before the question was sent."""
    prompt_tokens_per_second: float
    """0 where it is not known."""
    tokens_per_second: float


@dataclass(slots=True)
class _Tally:
    """What an answer amounts to while it comes."""

    sent: float
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    first: float = 0.0
    n_pieces: int = 0
    n_prompt: int = 0
    n_tokens: int = 0
    finish_reason: str = ""
    timings: Timings | None = None

    def take(self, piece: Piece) -> None:
        if piece.text or piece.reasoning:
            self.first = self.first or time.monotonic()
            self.n_pieces += 1
            self.text.append(piece.text)
            self.reasoning.append(piece.reasoning)
        self.n_prompt = piece.n_prompt or self.n_prompt
        self.n_tokens = piece.n_tokens or self.n_tokens
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.timings = piece.timings or self.timings

    def answer(self, question: str, model: str, waited: float) -> Answer:
        now = time.monotonic()
        first = self.first or now
        said = self.timings or Timings()
        n_tokens = self.n_tokens or said.n_tokens or self.n_pieces
        rate = said.tokens_per_second
        if not rate and n_tokens > 1 and now > first:
            rate = (n_tokens - 1) / (now - first)
        return Answer(
            question=question,
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            finish_reason=self.finish_reason or "interrupted",
            model=model,
            n_prompt=self.n_prompt or said.n_prompt + said.n_cached,
            n_cached=said.n_cached,
            n_tokens=n_tokens,
            first_token_seconds=first - self.sent,
            seconds=now - self.sent,
            waited_seconds=waited,
            prompt_tokens_per_second=said.prompt_tokens_per_second,
            tokens_per_second=rate,
        )


class Chat:
    """Questions to one server.

    Args:
        client: of the target.
        target: the server.
        sampling: how tokens are picked.
        on_event: hears what is waited for.
        limit_seconds: longest wait for a start; None = what is known of it.
    """

    def __init__(
        self,
        client: Client,
        target: Target,
        sampling: Sampling,
        on_event: OnEvent = lambda event: None,
        *,
        limit_seconds: float | None = None,
    ) -> None:
        self.client = client
        self.target = target
        self.sampling = sampling
        self._on_event = on_event
        self._limit_seconds = limit_seconds
        self._ready: Ready | None = None

    def connect(self) -> Ready:
        """The server as it presents itself, once it can answer.

        Raises: as `wait_until_ready`.
        """
        if self._ready is None:
            self._ready = wait_until_ready(
                self.client, self.target, self._on_event, limit_seconds=self._limit_seconds
            )
        return self._ready

    def check_images(self) -> None:
        """Refuse images where the server is known not to take any.

        Raises: UsageError.
        """
        if self.connect().about.takes_images is False:
            raise UsageError(
                f"{self.target.name} takes no images: it runs without a projector.",
                "Serve the model with --mmproj FILE.",
            )

    def ask(
        self,
        conversation: Conversation,
        on_piece: Callable[[Piece], None],
        *,
        is_stoppable: bool = False,
    ) -> Answer:
        """The answer to the last question of a conversation.

        Args:
            conversation: ends with a question.
            on_piece: is given each piece as it comes.
            is_stoppable: whether Ctrl-C ends the answer alone, which is then what has come.

        Raises: as `pieces` and `wait_until_ready`.
        """
        found = conversation.last_question
        if found is None:
            raise UsageError("Nothing was asked.")
        began = time.monotonic()
        tally = _Tally(began)
        model = ""
        waited = 0.0
        try:
            model = self.connect().about.model
            waited = self._ready.seconds if self._ready and self._ready.was_cold else 0.0
            body = self._body(conversation, model)
            for pause in (*BUSY_SECONDS, None):
                tally = _Tally(time.monotonic())
                try:
                    self._stream(body, tally, on_piece)
                    break
                except NotReady:
                    # It was there a moment ago: it has scaled down, or is being replaced.
                    if tally.n_pieces or pause is None:
                        raise
                    self._ready = None
                    waited += self.connect().seconds
                except Busy as error:
                    if pause is None or tally.n_pieces:
                        raise
                    seconds = min(error.retry_seconds or pause, BUSY_SECONDS[-1])
                    text = f"the server is busy; asking again in {seconds:.0f} s"
                    self._on_event(Event("waiting", 0.0, text))
                    time.sleep(seconds)
        except KeyboardInterrupt:
            if not is_stoppable:
                raise
        if self._ready is not None:
            # The wait was for the first question alone.
            self._ready = replace(self._ready, seconds=0.0)
        return tally.answer(found[1].text, model, waited)

    def _body(self, conversation: Conversation, model: str) -> dict[str, Any]:
        return {
            "model": model,
            "messages": conversation.to_api(),
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.sampling.to_body(),
        }

    def _stream(
        self, body: Mapping[str, Any], tally: _Tally, on_piece: Callable[[Piece], None]
    ) -> None:
        url = f"{self.target.endpoint.url}/chat/completions"
        with contextlib.closing(pieces(self.client, url, body)) as stream:
            for piece in stream:
                tally.take(piece)
                on_piece(piece)


@contextlib.contextmanager
def started_for_chat(
    request: LocalRequest, on_event: OnEvent, on_plan: Callable[[LocalPlan], None]
) -> Iterator[Target]:
    """A server of a model on this machine, for as long as the block lasts.

    Raises: as `plan_local` and `start_local`.
    """
    # Most conversations are with a server that is there: then none of this is loaded.
    from ggufctl.services.serve import plan_local, start_local

    plan = plan_local(request, on_event)
    on_plan(plan)
    server = start_local(plan, on_event)
    try:
        yield local_target(deployments.find(server.name))
    finally:
        server.stop()


def load_image(path: str) -> Image:
    """An image out of a file.

    Raises: UsageError when it cannot be read or is none.
    """
    data = _read(path, MAX_IMAGE_BYTES)
    return Image(data, image_type(path, data))


def read_text(path: str) -> str:
    """The text of a file.

    Raises: UsageError when it cannot be read, is too large or is no text.
    """
    try:
        return _read(path, MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{quoted(path)} is no text in UTF-8.") from None


def _read(path: str, most_bytes: int) -> bytes:
    """A file, unless it is larger than that: not every file says how large it is."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            data = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{quoted(path)} cannot be read: {reason}.") from None
    if len(data) > most_bytes:
        raise UsageError(f"{quoted(path)} is larger than {most_bytes >> 20} MiB.")
    return data


def load_conversation(path: str) -> Conversation:
    """A conversation out of a file.

    Raises: UsageError.
    """
    return Conversation.from_json(read_text(path))


def save_conversation(conversation: Conversation, path: str) -> None:
    """Keep a conversation in a file that only its user reads.

    A file is replaced only if it holds a conversation.

    Raises: UsageError.
    """
    place = Path(os.path.expanduser(path))
    if os.path.lexists(place):
        try:
            load_conversation(path)
        except UsageError:
            raise UsageError(
                f"{quoted(path)} exists and is no conversation.", "Name another file."
            ) from None
    part = place.with_name(place.name + ".part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600, exist_ok=False)
        part.write_text(conversation.to_json(), encoding="utf-8")
        part.replace(place)
    except OSError as error:
        raise UsageError(f"{quoted(path)} cannot be written: {error.strerror}.") from None
