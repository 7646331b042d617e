"""What of a version stays in an archive that is redacted: its words, when, and of which kind.

Names go: speaker, source, role, owner, metadata, tags, the reasons of changes and links, keys,
grants and the log. What the words themselves say stays: that is the business of who added them.
"""

from __future__ import annotations

from typing import Any

REDACTED = "redacted"
_KEPT = ("created_at", "event_time", "said_at", "origin", "semantic_type")


def redacted_version(cube: dict[str, Any]) -> dict[str, Any]:
    """A version, without what names anybody besides its words."""
    header = cube["header"]
    about, rules = header["descriptive"], header["governance"]
    return {
        **cube,
        "header": {
            "descriptive": {name: about[name] for name in _KEPT},
            "governance": {**rules, "owner": REDACTED, "sensitivity": rules["sensitivity"]},
            "behaviour": header["behaviour"],
        },
    }
