"""What a session can do to say what its namespace is for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from memos_integrations.checks import check_text
from memos_integrations.cube import Access
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.spaces import KINDS, LIVES, PRESETS, Space, SpaceKind
from memos_integrations.offload import offload
from memos_integrations.verbs.retain import RetainVerbs, seconds

_BY_KIND = "space"
"""The reason of rules of retention that came with a kind."""


class SpaceVerbs(RetainVerbs):
    """Verbs of spaces; see :mod:`memos_integrations.infrastructure.spaces`."""

    def space(
        self,
        kind: SpaceKind,
        *,
        access: Access | None = None,
        curated: bool | None = None,
        sensitivity: Iterable[str] = (),
        ttl: timedelta | None = None,
        unused: timedelta | None = None,
    ) -> Space:
        """Say what this namespace, and all below it, is for.

        ``user``: what belongs to one person; nothing is different. ``expert``: knowledge that
        everyone under the same root reads and who administers it writes. ``shared``: everyone
        under the same root reads. ``context``: a pool of what is going on; unused for 30 days, it
        ends. ``cache``: it ends after a day. What is given replaces what the kind says:
        ``access``, ``sensitivity`` (labels) of what is added from now on, ``curated`` (writing
        takes the right to administer, where access is governed), ``ttl`` and ``unused`` as of
        :meth:`retain`. Said again, it replaces what was said before. Raises
        :class:`AccessDeniedError`.
        """
        if kind not in KINDS:
            raise InvalidInputError(f"kind is {kind!r}: use one of {', '.join(KINDS)}")
        if access not in (None, "private", "shared", "read_only"):
            raise InvalidInputError(f"access is {access!r}: use private, shared or read_only")
        self._administers("say what it is for, of")
        labels = tuple(check_text(one, what="label", max_bytes=256) for one in sensitivity)
        preset, (written, used) = PRESETS[kind], LIVES.get(kind, (None, None))
        ttl, unused = written if ttl is None else ttl, used if unused is None else unused
        for given, name in ((ttl, "ttl"), (unused, "unused")):
            if given is not None:
                seconds(given, name)
        space = replace(
            preset,
            namespace=self.namespace,
            access=preset.access if access is None else access,
            curated=preset.curated if curated is None else curated,
            sensitivity=labels,
        )
        self._vault.change_space(self._operator.activity("space", self.principal), space)
        self._live(ttl, unused)
        return space

    async def aspace(self, kind: SpaceKind, **options: Any) -> Space:
        """:meth:`space`, without blocking the event loop."""
        return await offload(self.space, kind, **options)

    def spaces(self) -> list[Space]:
        """The spaces that this namespace is in, and those below it; the nearest to the root first.

        Those below are shown to who may read there.
        """
        mine, sight = self.namespace, self._vault.sight()
        found = [
            one
            for one in self._vault.spaces.known
            if mine[: len(one.namespace)] == one.namespace
            or (one.namespace[: len(mine)] == mine and not sight.of(one.namespace).empty)
        ]
        return sorted(found, key=lambda one: (len(one.namespace), one.namespace))

    async def aspaces(self) -> list[Space]:
        """:meth:`spaces`, without blocking the event loop."""
        return await offload(self.spaces)

    def _live(self, ttl: timedelta | None, unused: timedelta | None) -> None:
        """Rules of retention, in place of those that an earlier kind brought."""
        for rule in self.retention():
            if rule.namespace == self.namespace and rule.reason == _BY_KIND:
                self.lift(rule)
        if ttl is not None:
            self.retain(ttl=ttl, reason=_BY_KIND)
        if unused is not None:
            self.retain(unused=unused, reason=_BY_KIND)
