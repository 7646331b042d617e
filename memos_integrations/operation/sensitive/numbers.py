"""Phone numbers, cards, bank accounts and national ids: patterns find, check digits decide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import phonenumbers
from stdnum import iban, luhn

from memos_integrations.operation.sensitive.finding import Finding

_CARD = re.compile(r"(?<![\w.])(?:(?:\d[ -]?){12,18}\d|\d{4}(?:\.\d{4}){3})(?!\w|\.\d)")
_ISSUERS = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|62\d{14,17}|(?:5[06-9]|6\d)\d{10,17}"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?!\w)", re.IGNORECASE)
_NINO = re.compile(
    r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
    r"(?: ?\d\d){3} ?[A-D](?!\w)"
)


def phones(text: str, regions: tuple[str, ...]) -> Iterator[Finding]:
    """Numbers that could be called: with a country code, or as they are written in a region."""
    for region in regions or (None,):
        for found in phonenumbers.PhoneNumberMatcher(text, region):
            raw = text[found.start : found.end]
            if not _is_date(raw.strip()):
                start = found.start + len(raw) - len(raw.lstrip())
                yield Finding(start, found.end, "phone")


def _is_date(raw: str) -> bool:
    return (
        re.fullmatch(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}.*|\d{1,2}[-./]\d{1,2}[-./]\d{4}", raw)
        is not None
    )


def cards(text: str) -> Iterator[Finding]:
    """Numbers of an issuer whose check digit is right."""
    for found in _CARD.finditer(text):
        number = re.sub(r"\D", "", found.group())
        if _ISSUERS.fullmatch(number) and luhn.is_valid(number) and len(set(number)) > 1:
            yield Finding(found.start(), found.end(), "card")


def ibans(text: str) -> Iterator[Finding]:
    """Accounts whose length, form and check digits are those of their country."""
    at = 0
    while found := _IBAN.search(text, at):  # words, or the next one, may follow
        stop = _longest_iban(found.group())
        at = found.start() + (stop or 4)
        if stop:
            yield Finding(found.start(), at, "iban")


def _longest_iban(written: str) -> int:
    """How much of what looks like one is one: words may follow."""
    ends = [i for i in range(len(written), 14, -1) if i == len(written) or not written[i].isalnum()]
    return next((end for end in ends if iban.is_valid(written[:end], False)), 0)


@dataclass(frozen=True)
class _Kind:
    """A national id: how it is written, and who knows whether it is one."""

    pattern: re.Pattern[str]
    checker: ModuleType
    near: re.Pattern[str] | None = None
    """Words of which one must stand shortly before: the check alone is too weak."""


def _kind(pattern: str, module: str, near: str = "") -> _Kind:
    words = re.compile(rf"\b(?:{near})\b", re.IGNORECASE) if near else None
    checker = import_module(f"stdnum.{module}")
    return _Kind(re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])"), checker, words)


_KINDS = (
    _kind(r"\d{3}-\d{2}-\d{4}", "us.ssn"),
    _kind(r"\d{9}|\d{3} \d{2} \d{4}", "us.ssn", r"ssn|social security"),
    _kind(r"\d{8}-?[A-HJ-NP-TV-Z]", "es.dni"),
    _kind(r"[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]", "es.nie"),
    _kind(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    _kind(r"[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}", "fr.nir"),
    _kind(r"\d{2} ?\d{3} ?\d{3} ?\d{3}", "de.idnr", r"steuer\S*|identifikationsnummer|idnr|tax id"),
    _kind(r"\d{9}", "nl.bsn", r"bsn|burgerservicenummer"),
    _kind(r"\d{11}", "pl.pesel"),
    _kind(r"\d{6}(?:\d\d)?[-+]\d{4}", "se.personnummer"),
    _kind(r"\d{6}[-+A]\d{3}[0-9A-Y]", "fi.hetu"),
    _kind(r"\d{6} ?\d{5}", "no.fodselsnummer"),
    _kind(r"\d{6}[- ]?\d{4}", "dk.cpr", r"cpr\S*|personnummer"),
    _kind(r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    _kind(r"\d{3}[ -]?\d{3}[ -]?\d{3}", "ca.sin", r"sin|social insurance"),
    _kind(r"\d{4} ?\d{4} ?\d{4}", "in_.aadhaar", r"aadhaar|aadhar|uidai"),
    _kind(r"\d{3}[ -]?\d{3}[ -]?\d{4}", "gb.nhs", r"nhs"),
    _kind(r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", "be.nn"),
)
_NEAR = 40
"""Characters before a number in which the word that names it is looked for."""


def national_ids(text: str) -> Iterator[Finding]:
    """Numbers of persons whose check digits, dates and words around them are right."""
    for found in _NINO.finditer(text):
        yield Finding(found.start(), found.end(), "national_id")
    for kind in _KINDS:
        for found in kind.pattern.finditer(text):
            before = text[max(0, found.start() - _NEAR) : found.start()]
            named = kind.near is None or kind.near.search(before) is not None
            if named and kind.checker.is_valid(found.group().replace(" ", "")):
                yield Finding(found.start(), found.end(), "national_id")
