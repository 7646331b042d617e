"""Your own labelled data: a small JSON format (docs/evaluation.md)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from memos_integrations.errors import InvalidInputError
from memos_integrations.evaluation.labelled import Asked, Conversation, Labelled, Turn

Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Turn(_Strict):
    id: Text
    text: Text
    speaker: str | None = None
    role: str = "user"
    said_at: AwareDatetime | None = None
    session: str = ""


class _Question(_Strict):
    text: Text
    evidence: Annotated[list[str], Field(min_length=1)]
    category: Text = "all"


class _Conversation(_Strict):
    id: Text
    turns: Annotated[list[_Turn], Field(min_length=1)]
    questions: list[_Question] = []


class _File(_Strict):
    name: Text = "labelled data"
    conversations: Annotated[list[_Conversation], Field(min_length=1)]


def is_plain(raw: Any) -> bool:
    """Whether this JSON is meant to be of this format."""
    return isinstance(raw, dict) and "conversations" in raw


def plain(raw: dict[str, Any]) -> Labelled:
    """The conversations of a file; :class:`InvalidInputError` names the place that is wrong."""
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInputError(f"labelled data, {where}: {first['msg']}") from None
    ids = [one.id for one in file.conversations]
    if len(set(ids)) < len(ids):
        raise InvalidInputError("labelled data: two conversations have the same id")
    found = Labelled(file.name, tuple(map(_conversation, file.conversations)))
    if not found.questions:
        raise InvalidInputError("labelled data: no question is asked in it")
    return found


def _conversation(one: _Conversation) -> Conversation:
    turns = tuple(Turn(**turn.model_dump()) for turn in one.turns)
    known = {turn.id for turn in turns}
    if len(known) < len(turns):
        raise InvalidInputError(f"labelled data, {one.id}: two turns have the same id")
    for asked in one.questions:
        if unknown := sorted(set(asked.evidence) - known):
            raise InvalidInputError(
                f"labelled data, {one.id}, {asked.text!r}: no turn has the id {unknown[0]!r}"
            )
    asked_for = (Asked(q.text, frozenset(q.evidence), q.category) for q in one.questions)
    return Conversation(one.id, turns, tuple(asked_for))
