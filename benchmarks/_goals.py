"""The goals of the first token, and whether a run meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

REDUCTIONS = {(256, 32): 0.70, (1_024, 32): 0.90, (2_048, 32): 0.96, (6_064, 167): 0.95}
"""By how much a prompt of memories and question is to be quicker than cold."""


def goals(rows: Sequence[Row], overhead: Mapping[str, float]) -> list[list[str]]:
    """Goal, what was measured (the worst row's), and whether it is met: lines of a table."""
    lines = [
        _most("RAM / floor, best", 1.10, [r["RAM s"] / r["floor s"] for r in rows]),
        _most("disk / RAM, best", 1.10, [r["disk s"] / r["RAM s"] for r in rows]),
        _most("disk / RAM, medians", 1.10, [r["disk median s"] / r["RAM median s"] for r in rows]),
        _most(
            "dropped - RAM - files alone, ms",
            50,
            [(r["disk, dropped s"] - r["RAM s"] - r["files, dropped s"]) * 1e3 for r in rows],
            "{:.0f}".format,
        ),
    ]
    for (memories, question), least in REDUCTIONS.items():
        seen = [
            r["reduction"]
            for r in rows
            if (r["memories"], r["question"]) == (memories, question) and "reduction" in r
        ]
        name, worst = f"sooner than cold, {memories:,} + {question}", min(seen, default=None)
        met = worst is not None and worst >= least
        lines.append(_line(name, f">= {least:.0%}", worst, met, "{:.1%}".format))
    for name, value in overhead.items():
        lines.append(_most(f"added by {name}, ms", 30, [value], "{:.1f}".format))
    return lines


def _most(
    name: str, most: float, seen: Iterable[float], write: Callable[[float], str] = "{:.3f}".format
) -> list[str]:
    worst = max(seen, default=None)
    return _line(name, f"<= {write(most)}", worst, worst is not None and worst <= most, write)


def _line(
    name: str, goal: str, worst: float | None, met: bool, write: Callable[[float], str]
) -> list[str]:
    if worst is None:
        return [name, goal, "", "not measured"]
    return [name, goal, write(worst), "met" if met else "MISSED"]
