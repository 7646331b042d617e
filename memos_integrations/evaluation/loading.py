"""Labelled data from a file; which format it has is seen from its content."""

from __future__ import annotations

import json
from pathlib import Path

from memos_integrations.errors import InvalidInputError
from memos_integrations.evaluation.labelled import Labelled
from memos_integrations.evaluation.locomo import is_locomo, locomo
from memos_integrations.evaluation.longmemeval import is_longmemeval, longmemeval
from memos_integrations.evaluation.plain import is_plain, plain


def load(path: Path) -> Labelled:
    """LoCoMo, LongMemEval or the format of your own data; nothing is downloaded."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInputError(f"{path} is no JSON: {error}") from None
    try:
        if is_plain(raw):
            return plain(raw)
        if is_locomo(raw):
            return _asked(locomo(raw))
        if is_longmemeval(raw):
            return _asked(longmemeval(raw))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{path} is not complete: {error!r}") from None
    raise InvalidInputError(
        f"{path} is neither LoCoMo, nor LongMemEval, nor an object with `conversations`: "
        "docs/evaluation.md describes the format"
    )


def _asked(found: Labelled) -> Labelled:
    if not found.questions:
        raise InvalidInputError(f"{found.name}: no question has evidence that exists")
    return found
