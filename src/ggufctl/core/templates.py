"""Chat templates that are given by hand: llama.cpp's own by their names, all others as Jinja."""

from __future__ import annotations

from difflib import get_close_matches

from ggufctl.core.escape import quoted
from ggufctl.errors import UsageError

__all__ = ["BUILT_IN_TEMPLATES", "template_args"]

BUILT_IN_TEMPLATES = tuple(
    "bailing bailing-think bailing2 chatglm3 chatglm4 chatml command-r deepseek deepseek-ocr "
    "deepseek2 deepseek3 exaone-moe exaone3 exaone4 falcon3 gemma gigachat glmedge gpt-oss granite "
    "granite-4.0 granite-4.1 grok-2 hunyuan-dense hunyuan-moe hunyuan-vl kimi-k2 llama2 llama2-sys "
    "llama2-sys-bos llama2-sys-strip llama3 llama4 megrez minicpm mistral-v1 mistral-v3 "
    "mistral-v3-tekken mistral-v7 mistral-v7-tekken monarch openchat orion pangu-embedded phi3 "
    "phi4 rwkv-world seed_oss smolvlm solar-open vicuna vicuna-orca yandex zephyr".split()
)
"""Names that llama.cpp has a template for.

Source: llama.cpp src/llama-chat.cpp `LLM_CHAT_TEMPLATES`.
"""

_JINJA_NAMES = ("chatml",)
"""Of the names, those that its Jinja engine knows as well; the others it takes for the text."""


def template_args(text: str) -> tuple[str, ...]:
    """llama-server's arguments for a template, given by its name or in Jinja; none for none.

    Raises: UsageError for what is neither: every prompt would be that text, without the question.
    """
    name = text.strip()
    if not name:
        return ()
    if "{" in name or name in _JINJA_NAMES:
        return ("--chat-template", text)
    if name in BUILT_IN_TEMPLATES:
        return ("--no-jinja", "--chat-template", name)
    near = get_close_matches(name.casefold(), BUILT_IN_TEMPLATES, n=3)
    raise UsageError(
        f"{quoted(name)} is neither the name of a template of llama.cpp's nor one in Jinja.",
        f"Names are {', '.join(near or BUILT_IN_TEMPLATES)}.",
    )
