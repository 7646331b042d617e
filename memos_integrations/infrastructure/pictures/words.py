"""Words in pictures: DejaVu Sans as matplotlib bundles it, with measuring and wrapping."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.font_manager import FontProperties, get_font
from matplotlib.textpath import text_to_path

UNDRAWABLE = "\N{WHITE SQUARE}"
_JOINERS = "\ufe0e\ufe0f\u200d"


class Fonts:
    """Regular and bold, in any size. Widths are in inches, sizes in points."""

    def __init__(self) -> None:
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self._files = {False: folder / "DejaVuSans.ttf", True: folder / "DejaVuSans-Bold.ttf"}
        self._face = get_font(str(self._files[False]))

    def of(self, size: float, *, bold: bool = False) -> Any:
        """The font, as matplotlib takes it."""
        return FontProperties(fname=str(self._files[bold]), size=size)

    def width(self, text: str, size: float, *, bold: bool = False) -> float:
        """The width of a line."""
        font = self.of(size, bold=bold)
        return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72

    def drawable(self, text: str) -> str:
        """``text`` on one line, with a square for each run of characters that the font lacks."""
        kept: list[str] = []
        for char in unicodedata.normalize("NFC", text):
            if char.isspace():
                kept.append(" ")
            elif char in _JOINERS:
                continue  # they shape the emoji before them, and have no looks of their own
            elif self._face.get_char_index(ord(char)):
                kept.append(char)
            elif unicodedata.category(char)[0] not in "CM" and kept[-1:] != [UNDRAWABLE]:
                kept.append(UNDRAWABLE)
        return " ".join("".join(kept).split())

    def wrapped(self, text: str, size: float, width: float, lines: int) -> list[str]:
        """At most ``lines`` lines, the last one with an ellipsis if something is left out."""
        most = lines * 200  # far more than fits: measuring a megabyte would take minutes
        words = self.drawable(text[:most]).split()
        done: list[str] = []
        while words and len(done) < lines:
            taken = 1
            while taken < len(words) and self._fits(words[: taken + 1], size, width):
                taken += 1
            line = " ".join(words[:taken])
            head = self._head(line, size, width)
            done.append(head)
            words = words[taken:] if head == line else [line[len(head) :], *words[taken:]]
        if words or len(text) > most:
            room = width - self.width("…", size)
            done[-1:] = [self._head(done[-1], size, room).rstrip() + "…"] if done else ["…"]
        return done

    def _fits(self, words: list[str], size: float, width: float) -> bool:
        return self.width(" ".join(words), size) <= width

    def _head(self, line: str, size: float, width: float) -> str:
        """As much of a line as fits, one character at least."""
        if self.width(line, size) <= width:
            return line
        ends = range(1, len(line))
        fitting = bisect_right(ends, width, key=lambda end: self.width(line[:end], size))
        return line[: max(1, fitting)]
