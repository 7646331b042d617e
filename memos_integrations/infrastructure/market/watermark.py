"""A mark in a text that is not seen, and survives copying: where did these words come from?

Four characters without width stand for two bits each; twenty of them are one mark: 32 bits that
name a package and eight that check them. The mark stands after spaces, several times in
a long text, so that a part of it keeps one. It survives copying of plain text, NFC and NFKC, and
most editors. It does not survive retyping, OCR, rewriting by a person or a model, nor a filter that
strips characters of the category Cf: it is a trace, and no proof.
"""

from __future__ import annotations

import re
import zlib

SYMBOLS = "\u200b\u200c\u200d\u2060"
"""Zero width space, non-joiner, joiner, word joiner."""
EVERY = 400
"""Characters from one mark to the next."""
_MARK = re.compile(rf"(?<![{SYMBOLS}])[{SYMBOLS}]{{20}}(?![{SYMBOLS}])")


def marked(text: str, mark: bytes) -> str:
    """The text with a mark of four bytes in it."""
    signs = _signs(mark)
    parts, at = [], 0
    while at < len(text):
        space = text.find(" ", at)
        if space < 0:
            break
        parts.append(text[at : space + 1] + signs)
        at = space + 1
        rest = text[at : at + EVERY]
        if len(rest) < EVERY:
            break
        parts.append(rest)
        at += EVERY
    parts.append(text[at:])
    return "".join(parts) if " " in text else text + signs


def marks(text: str) -> list[bytes]:
    """The marks in a text, each once, in the order in which they stand."""
    found = (_read(match.group()) for match in _MARK.finditer(text))
    return list(dict.fromkeys(mark for mark in found if mark is not None))


def unmarked(text: str) -> str:
    """The text without its marks."""
    return _MARK.sub(lambda match: "" if _read(match.group()) else match.group(), text)


def _signs(mark: bytes) -> str:
    number = int.from_bytes(mark, "big") << 8 | zlib.crc32(mark) & 0xFF
    return "".join(SYMBOLS[number >> shift & 3] for shift in range(38, -2, -2))


def _read(signs: str) -> bytes | None:
    number = 0
    for sign in signs:
        number = number << 2 | SYMBOLS.index(sign)
    mark = (number >> 8).to_bytes(4, "big")
    return mark if number & 0xFF == zlib.crc32(mark) & 0xFF else None
