"""What becomes of rows that anybody may have written: they say so, and claim nobody's name."""

from __future__ import annotations

from typing import Any

from memos_integrations.errors import ArchiveError

IMPORTED = "imported"
"""The origin of a memory that came with an archive or from another program."""


def as_imported(owner: str, row: dict[str, Any]) -> dict[str, Any]:
    """A version that belongs to who loads it, with an origin that nobody trusts much."""
    try:
        header = row["header"]
        rules = {name: v for name, v in header["governance"].items() if name != "trust"}
        about = {**header["descriptive"], "origin": IMPORTED}
        changed = {**header, "governance": {**rules, "owner": owner}, "descriptive": about}
    except (KeyError, TypeError, AttributeError):
        raise ArchiveError("a version has no header") from None
    return {**row, "header": changed}


def doing_as_imported(row: dict[str, Any]) -> dict[str, Any]:
    """An activity whose principal is not one of this store."""
    who = row.get("principal")
    if not isinstance(who, str):
        raise ArchiveError("an activity is nobody's")
    return row if who.startswith(f"{IMPORTED}:") else {**row, "principal": f"{IMPORTED}:{who}"}
