"""Models to ask: LangChain's, LlamaIndex's, or a function from a text to a text.

They are told apart by their methods, so neither framework is imported. Where a model calls tools,
the schema goes with the question as one; else the prompt alone says what is wanted.
"""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from memos_integrations.errors import InvalidInputError, MemOSError, StoreError
from memos_integrations.interface.extracting.prompting import Asked, estimate
from memos_integrations.interface.extracting.schema import Extracted

_log = logging.getLogger(__name__)

_NAMES = ("model_name", "model", "model_id", "repo_id", "deployment")


@dataclass(frozen=True)
class Answer:
    """What a model said: a text, or the arguments of a tool call; and the tokens it took."""

    said: Any
    prompt_tokens: int
    answer_tokens: int
    estimated: bool = False


@dataclass(frozen=True)
class Failed:
    """The model gave no answer."""

    why: str


class Asker(ABC):
    """A model as a reader sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        """Which model it is: a part of what a fact says of its making."""

    @abstractmethod
    def ask(self, asked: Asked, attempt: int) -> Answer | Failed:
        """Its answer; ``attempt`` counts how often the same was asked."""


def asker(model: object, name: str | None = None) -> Asker:
    """``model`` as somebody to ask. :class:`InvalidInputError` for what is none."""
    if isinstance(model, Asker):
        return model
    ask = None if isinstance(model, type) else _way(model)
    if ask is None:
        what = model.__name__ if isinstance(model, type) else type(model).__name__
        raise InvalidInputError(
            f"model is {what}: give a LangChain chat model, a LlamaIndex LLM, or a function that "
            "takes the prompt as a text and returns the answer as one"
        )
    return _Model(name or _name(model), ask)


class _Model(Asker):
    def __init__(self, name: str, ask: Callable[[Asked, int], Answer]) -> None:
        super().__init__(name)
        self._ask = ask

    def ask(self, asked: Asked, attempt: int) -> Answer | Failed:
        try:
            return self._ask(asked, attempt)
        except StoreError:
            raise  # nothing can be written any more: it is no matter of this model
        except Exception as error:  # noqa: BLE001 - foreign code: it may raise anything
            _log.warning("%s gave no answer: %s", self.name, type(error).__name__)
            shown = str(error) if isinstance(error, MemOSError) else ""
            return Failed(f"{type(error).__name__}{': ' if shown else ''}{shown}"[:300])


def _way(model: object) -> Callable[[Asked, int], Answer] | None:
    if callable(getattr(model, "invoke", None)):
        return _LangChain(model)
    if callable(getattr(model, "complete", None)) and hasattr(model, "metadata"):
        return _LlamaIndex(model)
    if callable(model) and not _is_async(model):
        return lambda asked, _: _counted(model(asked.text), asked)
    return None


def _is_async(model: Callable[..., Any]) -> bool:
    """Whether a call gives something to wait for, which a reader in a thread cannot."""
    ways = model, getattr(type(model), "__call__", None)  # noqa: B004 - which kind, not whether
    return any(inspect.iscoroutinefunction(way) for way in ways)


class _LangChain:
    """A chat model: the schema as a tool where it takes tools; a text where not, or that failed."""

    def __init__(self, model: Any) -> None:
        self._plain = model
        self._tools = _tried(lambda: model.bind_tools([Extracted], tool_choice="any"))

    def __call__(self, asked: Asked, attempt: int) -> Answer:
        model = self._plain if self._tools is None or attempt else self._tools
        message = model.invoke([("system", asked.instructions), ("human", asked.turns)])
        said = message if isinstance(message, str) else _said_in(message)
        return _counted(said, asked, getattr(message, "usage_metadata", None))


def _tried(make: Callable[[], Any]) -> Any:
    """What a model makes of itself for a schema; None where it does not."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - foreign code: models say no in many ways
        _log.debug("no tools (%s): the prompt alone says what is wanted", type(error).__name__)
        return None


def _said_in(message: Any) -> Any:
    """Arguments of a tool call, as far as the provider could read them, else the words."""
    calls = getattr(message, "tool_calls", None) or ()
    found = [call["args"] for call in calls if isinstance(call.get("args"), Mapping)]
    if found:
        return found[0] if len(found) == 1 else _together(found)
    broken = getattr(message, "invalid_tool_calls", None) or ()
    texts = [call.get("args") for call in broken if isinstance(call.get("args"), str)]
    return texts[0] if texts else str(getattr(message, "text", "") or message.content)


def _together(calls: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Some models call the tool once for each statement."""
    lists = [call.get("memories") for call in calls]
    return {"memories": [one for many in lists if isinstance(many, list) for one in many]}


class _LlamaIndex:
    """An LLM: structured where it calls functions, and plain where that failed."""

    def __init__(self, model: Any) -> None:
        self._plain, self._structured = model, None
        if getattr(model.metadata, "is_function_calling_model", False):
            self._structured = _tried(lambda: model.as_structured_llm(Extracted))

    def __call__(self, asked: Asked, attempt: int) -> Answer:
        model = self._plain if self._structured is None or attempt else self._structured
        response = model.complete(asked.text, formatted=True)
        raw = getattr(response, "raw", None)
        usage = raw.get("usage") if isinstance(raw, Mapping) else getattr(raw, "usage", None)
        return _counted(response.text, asked, usage)


def _counted(said: object, asked: Asked, usage: object = None) -> Answer:
    """With the tokens that the provider names, else with an estimate."""
    counts = _count(usage, _PROMPT), _count(usage, _ANSWER)
    if counts[0] is not None and counts[1] is not None:
        return Answer(said, counts[0], counts[1])
    return Answer(said, asked.tokens, estimate(said if isinstance(said, str) else repr(said)), True)


_PROMPT, _ANSWER = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")


def _count(usage: object, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = usage.get(name) if isinstance(usage, Mapping) else getattr(usage, name, None)
        if type(value) is int and value >= 0:
            return value
    return None


def _name(model: object) -> str:
    """Class and model name; of a function, its own name."""
    about = [model, getattr(model, "metadata", None)]
    values = [getattr(one, name, None) for one in about for name in _NAMES]
    named = next((value for value in values if isinstance(value, str) and value), "")
    known = (getattr(model, name, None) for name in ("__qualname__", "__name__"))
    kind = next((one for one in known if isinstance(one, str) and one), type(model).__name__)
    return f"{kind}:{named}"[:200] if named else kind[:200]
