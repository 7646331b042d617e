"""What users type, in the shapes that a session takes: filters, times, namespaces, files."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memos_integrations.errors import InvalidFilterError, InvalidInputError
from memos_integrations.query import TimeWindow

_OPERATORS = {"=": "$eq", "!=": "$ne", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_FILTER = re.compile(r"(?P<field>[^=<>!]+?)\s*(?P<op>>=|<=|!=|=|>|<)\s*(?P<value>.*)", re.DOTALL)
_TIME_FIELDS = ("event_time", "said_at", "created_at", "expires_at", "last_used_at")
_FILES = ".txt and .md (a document), .json and .jsonl (messages or documents)"


def read_time(text: str, what: str) -> datetime:
    """An ISO date or time; UTC where no zone is given."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInputError(
            f"{what} is {text!r}: give a date such as 2026-05-31, or a time such as "
            "2026-05-31T18:30+02:00 (UTC without a zone)"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_window(since: str | None, until: str | None) -> TimeWindow | None:
    """From ``since`` up to, not including, ``until``."""
    if since is None and until is None:
        return None
    return TimeWindow(
        None if since is None else read_time(since, "--since"),
        None if until is None else read_time(until, "--until"),
    )


def read_namespace(text: str | None) -> tuple[str, ...] | None:
    """``acme/alice`` as ``("acme", "alice")``."""
    return None if text is None else tuple(text.split("/"))


def read_filters(given: Sequence[str]) -> dict[str, Any]:
    """``["speaker=Maya", "priority>=5"]`` as the filters of ``MemorySession.search``."""
    filters: dict[str, Any] = {}
    for text in given:
        match = _FILTER.fullmatch(text.strip())
        if match is None:
            raise InvalidFilterError(
                f"filter {text!r}: write it as field=value, or with !=, >, >=, < or <="
            )
        name, value = match["field"], _value(match["field"], match["value"])
        op = _OPERATORS[match["op"]]
        if op == "$eq" and isinstance(value, list):
            op = "$in"
        conditions = filters.setdefault(name, {})
        if op in conditions:
            raise InvalidFilterError(
                f"filter {text!r}: {name}{match['op']} is given twice; "
                f'for any of several write {name}=["a","b"]'
            )
        conditions[op] = value
    return filters


def _value(field: str, text: str) -> Any:
    """JSON where it is JSON, a time for fields that hold times, else the words themselves."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if field in _TIME_FIELDS and isinstance(value, str):
        return read_time(value, f"filter {field}")
    return value


def read_content(texts: Sequence[str], file: Path | None) -> Any:
    """What ``add`` shall remember: words, standard input for ``-``, or a file."""
    if file is not None and texts:
        raise InvalidInputError("give either TEXT or --file, not both")
    if file is not None:
        return _read_file(file)
    if "-" in texts:
        if len(texts) > 1:
            raise InvalidInputError("'-' reads standard input and stands alone")
        return [_decoded(sys.stdin.buffer.read(), "standard input")]
    if not texts:
        raise InvalidInputError("nothing to remember: give TEXT, --file, or - for standard input")
    return list(texts)


def _read_file(file: Path) -> Any:
    kind = file.suffix.lower()
    if kind not in (".txt", ".md", ".json", ".jsonl"):
        raise InvalidInputError(f"{file} cannot be read: --file takes {_FILES}")
    try:
        text = _decoded(file.read_bytes(), str(file))
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from None
    if kind == ".jsonl":
        lines = enumerate(text.split("\n"), 1)
        return [_json(line, f"{file}, line {n}") for n, line in lines if line.strip()]
    if kind == ".json":
        return _items(_json(text, str(file)), file)
    return [{"text": text, "source": file.name}]


def _items(found: Any, file: Path) -> Any:
    """A list, an object that holds ``messages`` or ``documents``, or one of these alone."""
    if isinstance(found, dict):
        for key in ("messages", "documents"):
            if isinstance(found.get(key), list):
                return found[key]
        return [found]
    if isinstance(found, list):
        return found
    raise InvalidInputError(f"{file} holds a {type(found).__name__}: give a list of messages")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{where} is not JSON: {error}") from None


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{where} is not UTF-8 (byte {error.start}): convert it first"
        ) from None
