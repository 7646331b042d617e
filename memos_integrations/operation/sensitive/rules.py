"""The detector that needs no model: libraries that know numbers, and patterns for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator

from memos_integrations.errors import MissingExtraError
from memos_integrations.operation.sensitive.addresses import addresses
from memos_integrations.operation.sensitive.finding import Detector, Finding
from memos_integrations.operation.sensitive.secrets import secrets

REGIONS = ("US", "GB")
"""Where phone numbers without a country code are looked for."""

# Characters are counted, not tried one against another: a long text without an @ costs nothing.
_EMAIL = re.compile(
    r"(?<![\w.+%'-])[\w.+%'-]{1,64}[@＠](?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])", re.UNICODE
)
_SPOKEN = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64} at [\w-]{1,63}(?: dot [\w-]{1,63}){0,3} dot [^\W\d_]{2,24}\b",
    re.IGNORECASE,
)
_SPELT = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}\s?[\[({]\s?at\s?[\])}]\s?"
    r"(?:[\w-]{1,63}(?:\s?[\[({]\s?dot\s?[\])}]\s?|\.)){1,8}[^\W\d_]{2,24}\b",
    re.IGNORECASE,
)


def rules(*, regions: tuple[str, ...] = REGIONS) -> Detector:
    """E-mail, phone, card, IBAN, national ids, keys and tokens, and addresses as far as rules go.

    ``regions``: ISO country codes; phone numbers without ``+`` are read as numbers of these.
    :class:`MissingExtraError` without the ``privacy`` extra.
    """
    try:
        from memos_integrations.operation.sensitive import numbers
    except ImportError as error:
        raise MissingExtraError(
            f"sensitive content is found with {error.name}: "
            "pip install 'memos-integrations[privacy]'"
        ) from error

    def detect(text: str) -> Iterator[Finding]:
        digits = sum(map(text.count, "0123456789"))
        if "@" in text or "＠" in text:
            yield from _all(_EMAIL, text, "email")
        if "at" in text.casefold() and ("[" in text or "(" in text or "{" in text):
            yield from _all(_SPELT, text, "email")
        if " dot " in text.casefold():
            yield from _all(_SPOKEN, text, "email")
        if digits >= 6:
            yield from numbers.national_ids(text)
        if digits >= 7:
            yield from numbers.phones(text, regions)
        if digits >= 12:
            yield from numbers.cards(text)
        yield from numbers.ibans(text) if digits >= 8 else ()
        yield from secrets(text)
        yield from addresses(text) if digits else ()

    return detect


def _all(pattern: re.Pattern[str], text: str, label: str) -> Iterator[Finding]:
    for found in pattern.finditer(text):
        yield Finding(found.start(), found.end(), label)
