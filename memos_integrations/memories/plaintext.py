"""Plaintext memory: what of it is embedded."""

from __future__ import annotations

from memos_integrations.cube import MemCube


def embedding_text(cube: MemCube) -> str:
    """The words that a memory is embedded as: who said it, and what.

    Times are not embedded: a search compares them as times, and the words of a date make
    memories of one day alike that have nothing else in common.
    """
    speaker = cube.header.descriptive.speaker
    return f"{speaker}: {cube.text}" if speaker else cube.text
