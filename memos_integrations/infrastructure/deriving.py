"""Writing what comes from other memories: of several one, or what a reader made of turns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube, State
from memos_integrations.errors import CubeNotFoundError, VersionConflictError
from memos_integrations.infrastructure import (
    derivations,
    lookups,
    quarantine,
    readings,
    records,
    transitions,
)
from memos_integrations.infrastructure.derivations import Made, Reading
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.writable import Also, Writable, thawed
from memos_integrations.protocols import EmbedderFingerprint, Vectors


class Deriving(Writable):
    """What is derived within a store; a part of :class:`MemVault`."""

    def derive(
        self,
        path: Namespace,
        activity: Activity,
        cube: MemCube,
        vectors: Vectors,
        fingerprint: EmbedderFingerprint,
        sources: Sequence[MemCube],
        after: Callable[[MemCube], State] | None,
        *,
        replaces: Sequence[str] = (),
        also: Also | None = None,
    ) -> MemCube:
        """Write a new cube that comes from others, as they were read; all or nothing.

        ``vectors``: float32, ``(1, dimension)``. ``after``: the states that the sources take on.
        ``replaces``: cubes that are deleted for it, as far as they are there.
        :class:`VersionConflictError` if one of the sources has changed since.
        """

        def work(tx: sa.Connection) -> tuple[None, bool]:
            self._flush(tx)
            heads = [self._as_read(tx, path, source)[1] for source in sources]
            namespace = records.ensure_namespace(tx, path)
            self.remember_embedder(tx, fingerprint)
            activity_pk = records.insert_activity(tx, namespace.pk, activity)
            records.insert_cubes(tx, namespace, activity_pk, [cube], vectors)
            records.derive(tx, cube.id, [head.version_pk for head in heads])
            quarantine.inherit(tx, cube.id, [source.id for source in sources])
            if also is not None:
                also(tx)
            if after is not None:
                moves = [(head.cube_pk, head.cube.state, after(head.cube)) for head in heads]
                transitions.move(tx, activity_pk, moves, f"merged into {cube.id}")
            for one in replaces:
                with contextlib.suppress(CubeNotFoundError):
                    _, head = self._present(tx, path, one)
                    records.mark_deleted(tx, namespace, activity_pk, thawed(head))
            return None, self.index_if_large(tx, path)

        self.commit(work)
        self.embedder_is(fingerprint)
        self.tell([*(source.id for source in sources if after is not None), *replaces])
        return cube

    def derive_read(
        self,
        path: Namespace,
        activity: Activity,
        made: Sequence[Made],
        vectors: Vectors,
        fingerprint: EmbedderFingerprint,
        *,
        turns: Sequence[MemCube],
        reader: str,
        beside: Callable[[Collection[str]], Also | None],
    ) -> Reading:
        """Write what a reader made of turns, and that it has read them; in one transaction.

        ``vectors``: float32, ``(len(made), dimension)``. Left out is what was made of a turn that
        has changed meanwhile, or is known already. ``beside``: what stands beside new memories.
        """

        def work(tx: sa.Connection) -> tuple[Reading, bool]:
            namespace = records.ensure_namespace(tx, path)
            pks = self._unchanged(tx, path, turns)
            places = derivations.fresh(tx, namespace, reader, made, pks)
            kept, marked = [made[place] for place in places], set(pks.values())
            ids = tuple(one.cube.id for one in kept)
            if kept:
                self.remember_embedder(tx, fingerprint)
                marked |= {*derivations.write(tx, namespace, activity, kept, vectors[places], pks)}
                also = beside(ids)
                if also is not None:
                    also(tx)
            readings.mark(tx, namespace.pk, reader, marked)
            changed = tuple(turn.id for turn in turns if turn.id not in pks)
            return Reading(ids, changed), self.index_if_large(tx, path)

        reading = self.commit(work)
        if reading.written:
            self.embedder_is(fingerprint)
        return reading

    def bring_back(
        self,
        path: Namespace,
        activity: Activity,
        adapter: MemCube,
        made: Sequence[Made],
        vectors: Vectors,
        fingerprint: EmbedderFingerprint,
        *,
        beside: Callable[[Collection[str]], Also | None],
    ) -> list[MemCube]:
        """Write what an adapter knows as memories again: all or nothing; return those written.

        Each of ``made`` comes from one version, which may be of a deleted memory, and from the
        adapter. ``vectors``: float32, ``(len(made), dimension)``. Left out is what stands in the
        namespace in the same words, or was erased. Raises :class:`VersionConflictError` and
        :class:`CubeNotFoundError` if the adapter is not what it was.
        """

        def work(tx: sa.Connection) -> tuple[list[MemCube], bool]:
            namespace, head = self._as_read(tx, path, adapter)
            pks, places = {adapter.id: head.version_pk}, []
            words = [one.cube.header.behaviour.context_fingerprint for one in made]
            said = lookups.said(tx, namespace.pk, words)
            for place, one in enumerate(made):
                [source] = one.sources
                key = lookups.key_of(tx, source.id, source.version)
                if key is not None and (say := words[place]) is not None and say not in said:
                    said.add(say)
                    pks[source.id] = key
                    places.append(place)
            kept = [Made(made[n].cube, (*made[n].sources, adapter)) for n in places]
            if kept:
                self.remember_embedder(tx, fingerprint)
                derivations.write(tx, namespace, activity, kept, vectors[places], pks)
                also = beside({one.cube.id for one in kept})
                if also is not None:
                    also(tx)
            return [one.cube for one in kept], self.index_if_large(tx, path)

        written = self.commit(work)
        if written:
            self.embedder_is(fingerprint)
        return written

    def _unchanged(
        self, tx: sa.Connection, path: Namespace, seen: Sequence[MemCube]
    ) -> dict[str, int]:
        """By id: the keys of those versions that are still the current ones."""
        found: dict[str, int] = {}
        for one in seen:
            with contextlib.suppress(CubeNotFoundError, VersionConflictError):
                found[one.id] = self._as_read(tx, path, one)[1].version_pk
        return found
