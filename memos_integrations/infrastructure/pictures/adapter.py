"""What an adapter's examination showed, as bars: before it, beside the memories, and with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memos_integrations.errors import InvalidInputError, MissingExtraError
from memos_integrations.infrastructure.pictures.lineage import FORMATS, own_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY, _BLUE, _GREEN, _RED, _INK = "#8a94a3", "#2f5f9e", "#2c7a4b", "#a33b2f", "#1c2430"
_NAMES = {
    "bare": "bare model",
    "in_context": "memories in\nthe prompt",
    "adapted": "adapter\nalone",
}


def draw_report(report: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write the picture of a report to a ``.png`` or ``.svg`` file.

    Raises :class:`InvalidInputError` for another file type, :class:`MissingExtraError` without
    matplotlib, and ``OSError`` if the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"{target.name!r} is no picture: end it in {' or '.join(FORMATS)}")
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
        figure = Figure(figsize=(10.5, 3.4), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        right, sure, moved = figure.subplots(1, 3)
        three = list(_NAMES)
        _bars(right, f"right of {report['questions']} held-out questions", report, three)
        _bars(
            sure, "probability of the right answer", report, [f"{one}_probability" for one in three]
        )
        _drift(moved, report)
        metadata = {"Date": None} if target.suffix.lower() == ".svg" else {}
        figure.savefig(target, dpi=110, metadata=metadata)
    return target


def _bars(axes: Axes, title: str, report: Mapping[str, Any], fields: list[str]) -> None:
    values = [report[one] for one in fields]
    drawn = axes.bar(list(_NAMES.values()), values, color=[_GREY, _BLUE, _GREEN], width=0.6)
    axes.bar_label(drawn, [f"{one:.2f}" for one in values], color=_INK, fontsize=9)
    axes.set_ylim(0, max(0.01, *values) * 1.2)
    _plain(axes, title)


def _drift(axes: Axes, report: Mapping[str, Any]) -> None:
    moved, allowed = report["drift"], report["drift_allowed"]
    color = _GREEN if moved <= allowed else _RED
    drawn = axes.bar(["adapter"], [moved], color=color, width=0.3)
    axes.bar_label(drawn, [f"{moved:.3f}"], color=_INK, fontsize=9)
    if allowed <= 3 * moved:
        axes.axhline(allowed, color=_INK, linewidth=1, linestyle="--")
    axes.set_xlim(-0.6, 0.6)
    axes.set_ylim(0, max(0.01, moved) * 1.3 if allowed > 3 * moved else max(moved, allowed) * 1.3)
    _plain(axes, f"nats a token on other texts (allowed: {allowed:g})")


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, color=_INK, loc="left")
    axes.tick_params(labelsize=8.5, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
