"""Plaintext memory: what of it is embedded."""

from __future__ import annotations

from memos_integrations.cube import MemCube


def embedding_text(cube: MemCube) -> str:
    """The words that a memory is embedded as: who said it, when, what.

    "Maya (Friday 5 May 2023): I moved to Oslo" finds questions about Maya and about May, which
    the bare sentence does not.
    """
    about = cube.header.descriptive
    moment = about.said_at or about.event_time
    day = f"({moment:%A} {moment.day} {moment:%B} {moment.year})" if moment else ""
    prefix = " ".join(filter(None, [about.speaker, day]))
    return f"{prefix}: {cube.text}" if prefix else cube.text
