"""Who is told that memories have changed or were erased, and whoever cleans up elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection

from memos_integrations.infrastructure.former_vectors import FormerVectors


class Watched:
    """Who listens to a store; a part of :class:`MemVault`."""

    _former: FormerVectors
    _watchers: list[Callable[[Collection[str]], object]]
    _mourners: list[Callable[[Collection[str]], object]]
    _cleaners: list[Callable[[Collection[str]], object]]

    def watch(self, changed: Callable[[Collection[str]], object]) -> None:
        """Call ``changed`` with the ids of memories right after each commit that changed them."""
        self._watchers.append(changed)

    def watch_erasures(self, erased: Callable[[Collection[str]], object]) -> None:
        """Call ``erased`` with the ids of memories right after each commit that erased them."""
        self._mourners.append(erased)

    def watch_cleaning(self, clean: Callable[[Collection[str]], object]) -> None:
        """Call ``clean`` with the ids of erased memories when their bytes are taken out of files.

        It raises a :class:`MemOSError` if it cannot: then the erasure is not finished.
        """
        self._cleaners.append(clean)

    def clean_elsewhere(self, cube_ids: Collection[str]) -> None:
        """Take what was made of erased memories out of what lies outside of this folder."""
        for clean in self._cleaners:
            clean(cube_ids)

    def tell_erased(self, cube_ids: Collection[str]) -> None:
        """These memories were erased: what is kept of them in memory goes, too."""
        self._former.clear()
        for erased in self._mourners if cube_ids else ():
            erased(cube_ids)
        self.tell(cube_ids)

    def tell(self, cube_ids: Collection[str]) -> None:
        """These memories have changed."""
        for changed in self._watchers if cube_ids else ():
            changed(cube_ids)
