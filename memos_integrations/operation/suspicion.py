"""What in a memory looks like instructions to the model: rules for who may be believed how far.

Retrieved text is data. Text that speaks to the model instead of about the world is the payload of
memory injection (MINJA, arXiv 2503.03704) and of tool-output injection: it waits in quarantine
until somebody has looked at it. Rules know the forms that they know, and no others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from memos_integrations.cube import Trust
from memos_integrations.memories.block import folded

_Rules = tuple[tuple[str, re.Pattern[str]], ...]


def _rules(**patterns: str) -> _Rules:
    return tuple(
        (name.replace("_", " "), re.compile(pattern, re.IGNORECASE | re.DOTALL))
        for name, pattern in patterns.items()
    )


_ANY = r"[^.!?\n]"
"""Within a sentence."""
_PRIOR = r"(?:previous|prior|above|earlier|preceding|former|other|your|system|all|any|these|those)"
_ORDERS = (
    r"(?:instructions?|prompts?|rules|guidelines|directives|commands|orders|polic(?:y|ies)"
    r"|guardrails)"
)
_SEND = (
    r"(?:send|forward|e-?mail|post|upload|transmit|exfiltrate|leak|reveal|disclose|print|output"
    r"|repeat)"
)
_PRIVATE = (
    r"(?:passwords?|credentials?|api keys?|tokens?|secrets?|(?:system|hidden) prompt"
    r"|(?:conversation|chat) history|private (?:data|notes|information)"
    r"|all (?:user )?(?:memories|data)|credit cards?|card numbers?|contacts)"
)
_MODEL = r"(?:ai|assistant|agent|model|llm|chatbot|language model)s?"
_ASKED = r"(?:asks?|asked|quer(?:y|ies)|questions?|requests?|mentions?|sees?|hears?)"
_REPLY = r"(?:answer|respond|reply|recommend|say|use|call|return|output|tell|redirect)"

STRONG = _rules(
    overrides_instructions=(
        rf"\b(?:ignore|disregard|forget|override|bypass|drop|skip|discard)\b{_ANY}{{0,40}}"
        rf"\b{_PRIOR}\b{_ANY}{{0,30}}\b{_ORDERS}\b"
        rf"|\bignor(?:e|iere|a|ez)\b{_ANY}{{0,30}}"
        r"\b(?:vorherigen|bisherigen|anteriores|précédentes|precedenti)\b"
        rf"|\bignor(?:iere|a|ez)\b{_ANY}{{0,30}}"
        r"\b(?:anweisungen|instrucciones|instructions|istruzioni)\b"
    ),
    speaks_as_the_system=(
        r"(?:^|\n)\s*(?:#+\s*)?\[?(?:system|developer)\]?\s*"
        r"(?:prompt|message|note|override|instruction)?\s*:"
        r"|<\|?\s*(?:im_start|im_end|system|start_header_id|eot_id|endoftext|assistant|user)\s*\|?>"
        r"|<(?:start|end)_of_turn>|\[/?INST\]|<<\s*/?SYS\s*>>"
        r"|\b(?:new|updated|important) system (?:prompt|instructions?|message)\b"
    ),
    changes_the_role=(
        rf"\byou are (?:now|no longer)\b{_ANY}{{0,60}}"
        r"\b(?:assistant|model|ai|bot|mode|dan|unrestricted|jailbroken)\b"
        rf"|\b(?:enter|enable|activate|switch to)\b{_ANY}{{0,20}}"
        r"\b(?:developer|debug|god|admin|dan|jailbreak) mode\b"
    ),
    asks_for_secrets=(
        rf"\b{_SEND}\b{_ANY}{{0,60}}\b{_PRIVATE}\b{_ANY}{{0,60}}"
        r"\b(?:to|at|via)\b\s*\S*(?:@|://|www\.)"
    ),
)
"""Forms that no one uses who only tells something: also in what users say."""

WEAK = _rules(
    commands_the_model=(
        rf"\b{_MODEL}\b{_ANY}{{0,30}}"
        r"\b(?:must|should|has to|have to|is required to|needs? to|shall|will now)\b"
        r"|\b(?:note|message|instructions?|attention) (?:to|for) (?:the |any )?"
        rf"{_MODEL}\b"
        rf"|\b(?:if you are|as) an? {_MODEL}\b{_ANY}{{0,40}}"
        r"\b(?:must|should|do|please|reading)\b"
    ),
    steers_later_answers=(
        rf"\b(?:whenever|when|if|each time|every time|any time)\b{_ANY}{{0,80}}\b{_ASKED}\b"
        rf"{_ANY}{{0,80}}\b(?:always|instead|must|should|{_REPLY[3:-1]})\b"
        rf"|\bfrom now on\b{_ANY}{{0,40}}\b(?:you|always|every|{_REPLY[3:-1]})\b"
        rf"|\b(?:always|never) (?:{_REPLY[3:-1]}|mention|invoke|tell (?:the )?users?)\b"
        rf"|\b(?:in|for) (?:all|any|every) (?:future|later|subsequent)\b{_ANY}{{0,40}}"
        r"\b(?:answer|response|quer|request|question|conversation|task)"
    ),
    replaces_one_thing_by_another=(
        rf"\b(?:data|records?|information|entries|answers?|results?)\b{_ANY}{{0,40}}"
        rf"\b(?:of|for|about)\b{_ANY}{{0,40}}\b(?:is|are|was|were|has been|have been)\b"
        rf"{_ANY}{{0,30}}\b(?:saved|stored|moved|found|kept|replaced|redirected)\b"
        rf"{_ANY}{{0,30}}\b(?:under|as|to|by|in)\b"
        rf"|\b(?:should|must|has to|have to)\b{_ANY}{{0,20}}"
        r"\b(?:refer|be (?:replaced|redirected|treated|read|changed))\b"
        rf"{_ANY}{{0,20}}\b(?:to|by|as|with|into)\b"
    ),
    calls_a_tool=(
        rf"\b(?:call|invoke|execute|run|use)\b{_ANY}{{0,20}}\b(?:the )?[\w.]{{0,40}}"
        rf"\b(?:tool|function|command|shell|api)\b{_ANY}{{0,60}}\b(?:with|and|to|before|first)\b"
        r"|\bcurl\s+-|\brm -rf\b|<tool_call>"
    ),
    hides_from_the_user=(
        rf"\b(?:do not|don't|never|without)\b{_ANY}{{0,20}}"
        rf"\b(?:tell|inform|mention|show|reveal|alert)\w*\b{_ANY}{{0,20}}\b(?:the )?user\b"
    ),
    hands_out_secrets=(rf"\b{_SEND}\b{_ANY}{{0,40}}\b(?:the |your |all |user'?s? )\s?{_PRIVATE}\b"),
)
"""Forms that a user may well use, and a page, a tool or an answer of the model has no business
to."""

_HIDDEN = re.compile("[\U000e0000-\U000e007f]{4,}|[\U000e0100-\U000e01ef]{4,}")


@dataclass(frozen=True)
class QuarantinePolicy:
    """Which memories wait in quarantine."""

    user: bool = True
    """What users said, where it has one of the :data:`STRONG` forms."""
    others: bool = True
    """What tools, documents, imports and the assistant said, in :data:`STRONG` or :data:`WEAK`."""

    def why(self, texts: Iterable[str], trust: Trust) -> str | None:
        """What a memory looks like; ``None``: nothing that is known."""
        if not (self.user if trust == "high" else self.others):
            return None
        for text in texts:
            if _HIDDEN.search(text):
                return "has hidden characters that spell something"
            plain = _plain(text)
            for name, pattern in STRONG if trust == "high" else (*STRONG, *WEAK):
                if pattern.search(plain):
                    return name
        return None


def _plain(text: str) -> str:
    """As a model reads it: without what cannot be seen, letters that look like others as those."""
    if text.isascii():
        return text
    return folded(unicodedata.normalize("NFKC", text))
