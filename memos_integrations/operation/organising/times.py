"""The calendar parts of a phrase, so that "Tuesday at 10" and "on Tuesday" do not contradict."""

from __future__ import annotations

import re

from memos_integrations.operation.organising.words import MONTHS, WEEKDAYS

_MONTH = "|".join(sorted(MONTHS))
_DATE = re.compile(rf"\b(\d{{1,2}}) (?:of )?({_MONTH})\b|\b({_MONTH}) (\d{{1,2}})\b")
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_HALF = re.compile(r"\b(\d{1,2})(?:[:.](\d{2}))? ?([ap])\.?m\b")
_ALONE = re.compile(rf"\b(?:in|for|to|until|early|late) ({_MONTH})\b|^({_MONTH})$")
_CLOCK = re.compile(r"\b(\d{1,2})[:.](\d{2})\b(?!\.)|\bat (\d{1,2})(?! \w*(?:%|euro|kg))\b")
_DAY = re.compile(r"\b(" + "|".join(sorted(WEEKDAYS)) + r")s?\b")
_SPOKEN = re.compile(r"\b(noon|midnight|today|tomorrow|tonight)\b")


def when(text: str) -> dict[str, str]:
    """``{"day": "tuesday", "date": "3 june", "clock": "10:00"}`` as far as ``text`` says."""
    found = {}
    if match := _DATE.search(text):
        day, month = match.group(1) or match.group(4), match.group(2) or match.group(3)
        found["date"] = f"{int(day)} {month}"
    if match := _ISO.search(text):
        found["date"] = match.group()
    if not found and (match := _ALONE.search(text)):
        found["month"] = match.group(1) or match.group(2)
    if match := _HALF.search(text):
        hour = int(match.group(1)) % 12 + 12 * (match.group(3) == "p")
        found["clock"] = f"{hour}:{match.group(2) or '00'}"
    elif match := _CLOCK.search(text):
        found["clock"] = f"{int(match.group(1) or match.group(3))}:{match.group(2) or '00'}"
    if match := _DAY.search(text):
        found["day"] = match.group(1)
    if not found and (match := _SPOKEN.search(text)):
        found["spoken"] = match.group()
    return found


def clash(new: dict[str, str], old: dict[str, str]) -> bool:
    """Whether both name the same kind of time and differ in it."""
    return any(new[kind] != old[kind] for kind in new.keys() & old.keys())
