"""What a model may say: the schema that it is given, and that its answer is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

KINDS = ("fact", "preference", "event")


def _kind(value: object) -> object:
    """A kind that nobody asked for is left to the rules: most things are facts."""
    said = value.strip().casefold() if isinstance(value, str) else ""
    return said if said in KINDS else "fact"


def _number(value: object) -> object:
    """Not true, nor 1.0: the number of a turn."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _words(value: object) -> object:
    """An empty phrase, and one that is no phrase, is none: the statement stands without it."""
    return value if isinstance(value, str) and 0 < len(value.strip()) <= 200 else None


class Said(BaseModel):
    """One statement worth remembering, and the words of the turn that say it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Annotated[Literal["fact", "preference", "event"], BeforeValidator(_kind)] = Field(
        "fact", description="What it is."
    )
    text: str = Field(
        min_length=1,
        max_length=1_000,
        description="One short sentence that can be understood alone.",
    )
    turn: Annotated[int, BeforeValidator(_number), Field(strict=True)] = Field(
        description="The number of the turn that says it."
    )
    quote: str = Field(
        min_length=1,
        max_length=4_000,
        description="The words of that turn that say it, copied exactly.",
    )
    when: Annotated[str | None, BeforeValidator(_words)] = Field(
        None, description="The words of the turn that tell when, copied exactly."
    )


class Extracted(BaseModel):
    """What is worth remembering of the turns."""

    memories: list[Said] = Field(description="One entry a statement; empty if there is none.")


FIELDS = frozenset(Said.model_fields)


def checked(item: Mapping[str, Any]) -> Said:
    """One entry of an answer; :class:`ValueError` says what is wrong, without its words."""
    try:
        return Said.model_validate({name: item[name] for name in FIELDS & set(item)})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg'].lower()}") from None
