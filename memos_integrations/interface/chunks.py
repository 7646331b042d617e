"""Long texts cut into chunks that, joined, are the text again."""

from __future__ import annotations

from semantic_text_splitter import TextSplitter


def split(text: str, longest: int) -> list[str]:
    """Cut ``text`` at paragraphs, sentences or words into chunks of up to ``longest`` characters.

    ``"".join(split(text, n)) == text``. White space on its own is no memory: it is joined to the
    chunk before it (or after, at the start), which may then exceed ``longest`` by that white space.
    """
    if len(text) <= longest:
        return [text]
    splitter = TextSplitter((max(1, longest * 2 // 5), longest), trim=False)
    chunks: list[str] = []
    blank = ""
    for chunk in splitter.chunks(text):
        if chunk.strip():
            chunks.append(blank + chunk)
            blank = ""
        elif chunks:
            chunks[-1] += chunk
        else:
            blank += chunk
    return chunks or [blank]
