"""What users ask models and what these answer, in lines that are written as a program's own."""

from __future__ import annotations

import re

__all__ = ["is_plain", "is_prose", "is_speech", "without_speech"]

_SPEAKERS = ("content", "prompt", "question", "answer", "query", "instruction", "completion")
_KEYS = rf"(?:reasoning_content|{'|'.join(_SPEAKERS)})"
_MARKED = re.compile(
    rf"(?<!\\)\"{_KEYS}\" ?: ?\"(?P<plain>(?:[^\"\\]|\\.)*)|"
    rf"\\\"{_KEYS}\\\" ?: ?\\\"(?P<escaped>(?:(?!\\\").)*)|"
    # as vLLM notes a request, and as Python shows a dictionary
    r"\bprompt: '(?:[^'\\]|\\.)*'|"
    rf"'{_KEYS}': (?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|"
    # as logs of fields do, some without escapes
    r"\b(?:prompt|question|answer|query|input)=(?:'(?:[^'\\]|\\.|'(?!$|[,)\s]))*'|"
    r"\"(?:[^\"\\]|\\.|\"(?!$|[,)]| [\w.]+=))*\")"
)
"""What a request or an answer says is such."""

_QUOTED = r"[\"“'‘`][^\"”'’`]{3,200}[\"”'’`]"
_BEFORE = r"^(?:(?:(?!(?i:error|fail|fatal|exception)).){0,40}[:>\]] ?)?[\"'“]?(?:!\w{1,20} )?"
"""Who is quoted, and a command to a bot."""
_SPEECH = re.compile(
    # Programs say "we" and "you", and nothing of themselves.
    r"(?<![\w./@-])(?:I(?:['’](?:m|ve|ll|d))?|[Mm]y|[Mm]e) (?=[a-z])|"
    # who says it
    r"(?i:^(?:.{0,40}\b(?:INFO|DEBUG)\b)?[^A-Za-z{\"']{0,12}(?:Q|A|user|human|bot|"
    r"AI|assistant|question|answer|query|prompt|response|reply|completion|"
    r"chunk \d{1,4}|translation|summary)"
    r"\W{0,2}[:>](?: |$)"
    r"(?!\W{0,2}\b(?:error|failed|cannot|could not|unable|HTTP|[45]\d\d)\b)"
    r"(?!.{0,400}\b(?:GGML_ASSERT|status|Gateway|Internal Server)))|"
    r"(?i:\b(?:messages?|repl(?:ying|ied)|answer(?:ing|ed)|asked|said|says?) (?:from|to|by) "
    r"(?!server|daemon|backend|api|upstream)[\w@#.-]{1,40}: )|"
    r"^\[(?:search|answer|chunk|passage|doc|retriev\w{0,5})\b|"
    # questions
    r"(?i:\b(?:what|why|how)\b[^?]{0,200}\?(?:\W*$|\s*[│┃|;\t])|"
    r"(?:^|[\s\"'“(:>])(?:who|where|which|can you|could you|should I|do I|help me|"
    r"please)\b[^?]{2,200}\?\W*$)|"
    rf"(?i:{_BEFORE}(?:what|why|how) (?:is|are|does|do|did|can|to)\b)|"
    r"(?i:\bout of memory\b.{0,30}\berrors\b)|"
    # what is asked for
    rf"{_BEFORE}(?:[Ee]xplain|(?:[Ww]rite|[Cc]reate|[Gg]enerate|List) (?:an?|the|me|some|unit|"
    r"five|\d)|(?:Suggest|Compose|Rewrite|Rephrase|Outline|Draft|Recommend|Imagine|Define|Classify|"
    r"Show me|Name) (?:an?|the|this|that|some|three|five|\d)|[Ss]ummari[sz]e|"
    r"[Tt]ranslate|Tell me|[Dd]escribe|Give (?:me|an))\b|"
    # how an answer begins
    rf"{_BEFORE}\W{{0,3}}(?:Sure|Certainly|Of course|Absolutely|Here(?:['’]s| is| are)|"
    r"Let['’]s|To (?:fix|resolve|solve|troubleshoot|address|check|prevent|avoid))\b|"
    # lists and code that it has
    r"^\s*[-*] \*\*(?!Exception)|^\s*// |"
    r"^\s*(?:return|raise|throw|print\w*\(|echo |console\.log|logg?(?:er|ing)?\.\w+\(|fmt\.)"
)
"""What only people and models say."""
_SPOKEN_OF = re.compile(
    r"(?i:\b(?:this|the) (?:\w+ ){0,2}(?:line|message|output|code|exception|status|warning)s? "
    r"(?:indicates?|means|states?|suggests?)\b|^your \w+ is (?:currently|likely|probably)\b)|"
    rf"(?i:\b(?:phrase|message|error|term|expression|sentence|word)s? {_QUOTED} "
    r"(?:(?:is|are)(?! not)|means?|refers?|indicates?|occurs?|says?|typically|usually|can|could|"
    r"may)\b)|"
    r"(?i:\ban? (?:\w+ ){0,3}(?:error|fault)s? (?:can|may|might|could|typically|usually|often|"
    r"is caused)\b)|"
    r"(?i:\b(?:errors?|exceptions?|faults?)\b.{0,80} (?:occurs?|happens?|(?<!may )indicates?|means|"
    r"refers to)\b|[\"'`”’)] (?:occurs?|happens?|indicates?|means?|refers? to (?!undefined))\b)|"
    r"(?i:\b(?:is|are) an? (?:\w+ ){0,3}(?:error|fault|signal|problem|condition|message|term|type) "
    r"(?:that|in|of|which|when)\b)"
)
"""Errors that are explained, and not had."""
_HAD = re.compile(
    r"^(?!(?:An?|The|This) )(?:\S{1,80} )?[\w.]{0,80}(?:(?i:error|fatal)|Exception|[Ff]ailed)"
    r" ?[:(\[]"
)
"""How a program begins to tell one."""
_PROSE = re.compile(
    r"^\s*\d{1,2}\. (?=[A-Z*`])(?!.{0,400}[{}])|"
    r"\b(?:such as|for (?:example|instance)|in other words|various|typically|often|usually|"
    r"in general|commonly|(?:check|see|verify|determine) (?:if|whether) (?:the|an?|your|any|it|"
    r"you)|refers to (?!undefined)|is an? (?:common|type|way|result|critical|crucial|key|popular|"
    r"powerful|simple|great|good)|(?:this|the|these) (?:error|issue|problem|message)s? "
    r"(?:occurs?|happens?|indicates?|means?|is an?|are)|occurs? (?:when|in|due)|happens? when|"
    r"can (?:happen|occur|be caused)|is caused by|it['’]s (?:important|an?|possible|essential)|"
    r"there are (?:several|many|some|a few)|designed to|allows? (?:you|users?|them|us)|"
    r"as well as|\btips?\b|\bagainst .{0,40}\berrors\b|(?:you|we|they)['’](?:ll|ve)|"
    r"in this (?:case|example|article|code|story|poem)|we can use|once upon|users['’])",
    re.IGNORECASE,
)
"""How things are explained in general, as programs seldom do of what has just failed."""


_NOT_WORDS = re.compile(r"[:=_/\\\d\[\]{}<>#@|]|[a-z][A-Z]")
"""What stands in lines of programs, and seldom in sentences."""


def is_plain(text: str) -> bool:
    """Whether a line is made of words alone."""
    return _NOT_WORDS.search(text) is None


def is_speech(text: str) -> bool:
    """Whether a line reads as what somebody asked or was answered, though nothing marks it so."""
    return _SPEECH.search(text) is not None or (
        _SPOKEN_OF.search(text) is not None and _HAD.match(text) is None
    )


def is_prose(text: str) -> bool:
    """Whether a line explains something in general; some errors end with such a sentence."""
    return _PROSE.search(text) is not None


def without_speech(text: str) -> str:
    """A line with spaces in place of what it marks as said by a user or a model."""
    if not any(word in text for word in (*_SPEAKERS, "input=")):
        return text
    return _MARKED.sub(lambda said: " " * len(said[0]), text)
