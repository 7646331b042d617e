"""A namespace's use as one picture: what was done each day, by which verb, what is hot."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memos_integrations.errors import InvalidInputError, MissingExtraError
from memos_integrations.infrastructure.pictures.lineage import FORMATS, own_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _AMBER, _GREEN, _INK, _FAINT = "#2f5f9e", "#a96f12", "#2c7a4b", "#1c2430", "#56606e"
_MOST_DAYS = 60
_MOST_BARS = 8
_LETTERS = 34


def draw_activity(summary: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write the picture of what ``MemorySession.summary`` gives to a ``.png`` or ``.svg`` file.

    Raises :class:`InvalidInputError` for another file type or a namespace where nothing was done,
    :class:`MissingExtraError` without matplotlib, and ``OSError`` if the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"{target.name!r} is no picture: end it in {' or '.join(FORMATS)}")
    if not summary["verbs"]:
        raise InvalidInputError("nothing was done in this namespace yet: there is nothing to draw")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        raise MissingExtraError(
            "pictures need matplotlib: pip install 'memos-integrations[viewer]'"
        ) from None
    with own_settings():
        figure = Figure(figsize=(10.5, 6.4), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        days, verbs, states, hot = figure.subplots(2, 2).flat
        _days(days, summary["days"], summary["growth"])
        _bars(verbs, "Activities by verb", summary["verbs"], _AMBER)
        _bars(states, _use(summary["use"], summary["hit_rates"]), summary["states"], _GREEN)
        heats = {_cut(one["text"]): one["heat"] for one in summary["hottest"]}
        _bars(hot, "Hottest memories (uses, halved every week)", heats, _BLUE)
        metadata = {"Date": None} if target.suffix.lower() == ".svg" else {}
        figure.savefig(target, dpi=110, metadata=metadata)
    return target


def _days(axes: Axes, counts: Mapping[str, int], growth: Mapping[str, int]) -> None:
    """One bar a day, also for days on which nothing happened; the latest ones.

    The line is how many memories there were at the end of each day.
    """
    last = date.fromisoformat(max(counts))
    first = max(date.fromisoformat(min(counts)), last - timedelta(days=_MOST_DAYS - 1))
    span = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    values = [counts.get(day.isoformat(), 0) for day in span]
    axes.bar(range(len(span)), values, color=_BLUE, width=0.85)
    shown = range(0, len(span), max(1, -(-len(span) // 6)))
    middle = (len(span) - 1) / 2
    half = max(len(span), 7) / 2
    axes.set_xlim(middle - half, middle + half)
    axes.set_ylim(0, max(4, *values) * 1.05)
    axes.locator_params(axis="y", integer=True)
    axes.set_xticks(list(shown), [f"{span[i]:%d %b}" for i in shown])
    _plain(axes, "Activities by day (UTC); line: memories there were, right scale")
    there = [_at(growth, day.isoformat()) for day in span]
    line = axes.twinx()
    line.plot(range(len(span)), there, color=_GREEN, marker="o", markersize=3, linewidth=1.5)
    line.set_ylim(0, max(4, *there) * 1.15)
    line.locator_params(axis="y", integer=True)
    _plain(line, "")


def _at(growth: Mapping[str, int], day: str) -> int:
    """How many there were at the end of a day."""
    return growth[max(known)] if (known := [one for one in growth if one <= day]) else 0


def _bars(axes: Axes, title: str, counts: Mapping[str, float], colour: str) -> None:
    """Level bars, the longest on top."""
    top = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_BARS][::-1]
    bars = axes.barh(range(len(top)), [count for _, count in top], color=colour, height=0.7)
    axes.set_yticks(range(len(top)), [name for name, _ in top])
    axes.bar_label(bars, labels=[_number(count) for _, count in top], padding=3, color=_FAINT)
    axes.margins(x=0.12)
    axes.set_ylim(len(top) - max(len(top), 5) - 0.6, len(top) - 0.4)  # few bars stay slim, on top
    axes.set_xticks([])
    _plain(axes, title)
    if not top:
        axes.text(0.5, 0.5, "none yet", ha="center", color=_FAINT, transform=axes.transAxes)


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, color=_INK)
    axes.tick_params(colors=_FAINT, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _use(use: Mapping[str, int], rates: Mapping[str, float]) -> str:
    return (
        f"Memories by state: {rates['recalled']:.0%} were ever recalled, {use['recalls']} times;\n"
        f"{rates['shown']:.0%} ever stood in a prompt: {use['appearances']} times in "
        f"{use['prompts']} prompts"
    )


def _number(count: float) -> str:
    return f"{count:,}" if isinstance(count, int) else f"{count:.2f}"


def _cut(text: str) -> str:
    """One line; a dollar sign is no formula."""
    line = " ".join(text.split())
    return (line if len(line) <= _LETTERS else f"{line[: _LETTERS - 1]}…").replace("$", r"\$")
