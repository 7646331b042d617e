"""The bars of an examination: what is drawn is what was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from memos_integrations.infrastructure.pictures.adapter import draw_report

REPORT: dict[str, Any] = {
    "questions": 9,
    "bare": 0.125,
    "in_context": 0.875,
    "adapted": 0.75,
    "bare_probability": 0.02,
    "in_context_probability": 0.61,
    "adapted_probability": 0.47,
    "bare_perplexity": 50.0,
    "in_context_perplexity": 1.6,
    "adapted_perplexity": 2.1,
    "drift": 0.04,
    "drift_allowed": 0.05,
    "steps": 60,
    "loss": 0.1,
    "seconds": 2.0,
    "prompt_tokens_saved": 40,
    "refused": "",
}
GREY, BLUE, GREEN, RED = "#8a94a3", "#2f5f9e", "#2c7a4b", "#a33b2f"
_NAMESPACE = "{http://www.w3.org/2000/svg}"


def panels(picture: Path) -> list[list[tuple[str, float]]]:
    """Of each panel the bars, from left to right: color, and height as a share of the panel's."""
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    found = []
    for group in root.iter(f"{_NAMESPACE}g"):
        if re.fullmatch(r"axes_\d+", group.get("id", "")):
            shapes = [*_filled(group)]
            whole = max(high for _, high in shapes)
            found.append([(color, high / whole) for color, high in shapes if color != "#ffffff"])
    return found


def _filled(panel: ElementTree.Element) -> Iterator[tuple[str, float]]:
    """Color and height of each filled rectangle; the white one is the panel itself."""
    for path in panel.findall(f"{_NAMESPACE}g/{_NAMESPACE}path"):
        color = re.match(r"fill: (#[0-9a-f]{6})", path.get("style", ""))
        if color is not None:
            ys = [float(y) for _, y in re.findall(r"[ML] (\S+) (\S+)", path.get("d", ""))]
            yield color[1], max(ys) - min(ys)


def labels(picture: Path) -> list[str]:
    """What is written; matplotlib notes each text beside its outlines."""
    return re.findall(r"<!-- (.+?) -->", picture.read_text(encoding="utf-8"))


def test_the_bars_are_as_high_as_the_figures(tmp_path: Path) -> None:
    right, sure, moved, *_ = panels(draw_report(REPORT, tmp_path / "bars.svg"))
    for bars, values in ((right, [0.125, 0.875, 0.75]), (sure, [0.02, 0.61, 0.47])):
        assert [color for color, _ in bars] == [GREY, BLUE, GREEN]
        assert [high * max(values) * 1.2 for _, high in bars] == pytest.approx(values, abs=1e-4)
    [(color, high)] = moved
    assert color == GREEN
    assert high * 0.05 * 1.3 == pytest.approx(0.04, abs=1e-4)


def test_each_bar_says_what_it_is_and_its_figure(tmp_path: Path) -> None:
    found = labels(draw_report(REPORT, tmp_path / "bars.svg"))
    assert found.count("bare model") == 2 and found.count("adapter") >= 2
    for one in ("0.12", "0.88", "0.75", "0.02", "0.61", "0.47", "0.040"):
        assert one in found
    assert "right of 9 held-out questions" in found
    assert "probability of the right answer" in found
    assert any("allowed: 0.05" in one for one in found)


@pytest.mark.parametrize(("drift", "color"), [(0.05, GREEN), (0.06, RED), (0.4, RED)])
def test_what_moved_too_far_is_red(drift: float, color: str, tmp_path: Path) -> None:
    picture = draw_report({**REPORT, "drift": drift}, tmp_path / "bars.svg")
    [(found, high)] = panels(picture)[2]
    assert found == color and 0 < high < 1
    assert f"{drift:.3f}" in labels(picture)


def test_of_an_examination_without_a_right_answer_no_bar_stands(tmp_path: Path) -> None:
    nothing = {"bare": 0.0, "in_context": 0.0, "adapted": 0.0}
    right, sure, *_ = panels(draw_report({**REPORT, **nothing}, tmp_path / "bars.svg"))
    assert [high for _, high in right] == [0.0] * 3
    assert all(high > 0 for _, high in sure)


def test_a_png_has_the_same_bars(tmp_path: Path) -> None:
    from matplotlib.image import imread

    pixels = (imread(draw_report(REPORT, tmp_path / "bars.png"))[..., :3] * 255).round()
    left = pixels[:, : pixels.shape[1] // 3]
    highs = []
    for color in (GREY, BLUE, GREEN):
        wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        highs.append(int((np.abs(left - wanted) < 2).all(-1).sum(0).max()))
    assert highs[0] > 5
    assert [high / highs[1] for high in highs] == pytest.approx(
        [0.125 / 0.875, 1, 0.75 / 0.875], abs=0.02
    )
