"""Token vectors of memories that were looked at lately, so that a text is read once and not a
hundred times. They stay in this process's memory, and go when anything is erased."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence

from memos_integrations.models.checked import embed_tokens_checked
from memos_integrations.protocols import TokenEmbedder, TokenVectors

MOST_BYTES = 64 << 20
"""About 1,100 turns of a talk, of 38 tokens and 384 dimensions each."""


class KeptTokens:
    """The token vectors of texts, the least lately used gone first. Thread-safe."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most, self._bytes, self._erasures = most, 0, 0
        self._kept: OrderedDict[bytes, TokenVectors] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, embedder: TokenEmbedder, texts: Sequence[str]) -> list[TokenVectors]:
        """One for each text. Raises :class:`EmbeddingError`."""
        names = [hashlib.sha256(text.encode()).digest() for text in texts]
        with self._lock:
            erasures = self._erasures
            found = {name: self._kept[name] for name in names if name in self._kept}
            for name in found:
                self._kept.move_to_end(name)
        new = {n: t for n, t in zip(names, texts, strict=True) if n not in found}
        made = embed_tokens_checked(embedder, list(new.values())) if new else []
        fresh = dict(zip(new, made, strict=True))
        self._keep(fresh, erasures)
        return [(found | fresh)[name] for name in names]

    def clear(self, _: Collection[str] = ()) -> None:
        """Forget all: something was erased, and which texts that were nobody knows here."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0
            self._erasures += 1

    def _keep(self, fresh: dict[bytes, TokenVectors], erasures: int) -> None:
        with self._lock:
            if erasures != self._erasures:
                return  # what was erased while it was read would come back
            for name, one in fresh.items():
                if name not in self._kept:
                    self._kept[name] = one
                    self._bytes += one.vectors.nbytes
            while self._bytes > self._most and self._kept:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= gone.vectors.nbytes
