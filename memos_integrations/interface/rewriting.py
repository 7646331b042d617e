"""Other wordings of a question, or its parts, from a model or function that the caller passes.

Query rewriting for retrieval (Ma et al., EMNLP 2023). What a model writes is only searched with:
it is never stored, and what is found passes the same gate.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from memos_integrations.errors import InvalidInputError, ModelError

MOST = 4
"""So many wordings are searched with, at most."""

LONGEST = 500
"""Characters of a wording; what is longer is no question."""

PROMPT = """\
Somebody asks a question that past conversations answer. Write up to three short search queries, \
one a line: its parts, if it asks more than one thing, and other words for it. Keep names and \
dates. Write nothing else.

Question: {question}
"""

Rewriter = Any
"""A function from a question to wordings (or to text, one a line), a LangChain chat model, or a
LlamaIndex LLM."""

_MARK = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")


def wordings(rewriter: Rewriter, question: str) -> tuple[str, ...]:
    """What to search with besides the question: distinct, clean, not many, not long.

    Raises :class:`ModelError` for what the model or function raises.
    """
    ask = _asker(rewriter)
    try:
        said = ask(question)
    except Exception as error:  # any model, any fault: it is told, in one type
        kind = type(error).__name__
        raise ModelError(
            f"the rewriter of questions failed ({kind}: {error}): search without `rewrite`"
        ) from error
    lines = said.splitlines() if isinstance(said, str) else _strings(said)
    asked = question.strip().casefold()
    clean = (_cleaned(line) for line in lines)
    new = (one for one in clean if one and len(one) <= LONGEST and one.casefold() != asked)
    return tuple(dict.fromkeys(new))[:MOST]


def _asker(rewriter: Rewriter) -> Callable[[str], Any]:
    if callable(getattr(rewriter, "invoke", None)):  # LangChain
        return lambda question: _text(rewriter.invoke(PROMPT.format(question=question)))
    if callable(getattr(rewriter, "complete", None)):  # LlamaIndex
        return lambda question: _text(
            rewriter.complete(PROMPT.format(question=question), formatted=True)
        )
    if callable(rewriter) and not inspect.iscoroutinefunction(rewriter):
        given: Callable[[str], Any] = rewriter
        return given
    raise InvalidInputError(
        f"rewrite is a {type(rewriter).__name__}: give a function from a question to strings, a "
        "LangChain chat model or a LlamaIndex LLM"
    )


def _text(answer: Any) -> str:
    """The words of an answer: a string, ``content`` (also in blocks), or ``text``."""
    said = getattr(answer, "content", None)
    if said is None:
        said = getattr(answer, "text", answer)
    if isinstance(said, list):
        said = "\n".join(str(b.get("text", "")) if isinstance(b, dict) else str(b) for b in said)
    return str(said)


def _strings(said: Any) -> list[str]:
    if not isinstance(said, Iterable):
        raise InvalidInputError(f"rewrite gave a {type(said).__name__}: give strings")
    return [one for one in said if isinstance(one, str)]


def _cleaned(line: str) -> str:
    words = "".join(c if c.isprintable() else " " for c in _MARK.sub("", line))
    return " ".join(words.split()).encode("utf-8", "ignore").decode()
