"""What a session can ask about where memories come from, and what came of them."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import networkx as nx

from memos_integrations.checks import Namespace, check_id, check_text
from memos_integrations.cube import MemCube
from memos_integrations.errors import CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure.lookups import Head
from memos_integrations.infrastructure.prov_export import questions
from memos_integrations.infrastructure.prov_export.blaming import Blame, blame
from memos_integrations.infrastructure.prov_export.comparing import Comparison, compare
from memos_integrations.infrastructure.prov_export.formats import Format
from memos_integrations.infrastructure.prov_export.questions import Step
from memos_integrations.infrastructure.prov_export.reading import (
    by_time,
    counted,
    is_gone,
    memory_of,
    minute,
    shortened,
    words,
)
from memos_integrations.infrastructure.prov_export.saving import save
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.transitions import Passage
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.activation.catalogue import Piece, pieces_of
from memos_integrations.offload import offload
from memos_integrations.query import Hit, Use

Direction = Literal["sources", "derived", "both"]

_MOST_STEPS = 2**31


@dataclass(frozen=True)
class Derived:
    """A version that came from another memory; as a string, a line to read."""

    memory_id: str
    version: int
    text: str
    at: datetime
    deleted: bool

    def __str__(self) -> str:
        gone = ", deleted" if self.deleted else ""
        said = shortened(self.text, 80)
        return f"version {self.version} of {self.memory_id} ({minute(self.at)} UTC{gone}): {said}"


@dataclass(frozen=True)
class Impact:
    """What a memory had an effect on; as a string, a line for each."""

    memory_id: str
    memories: tuple[Derived, ...]
    """The versions of other memories that came from it, oldest first."""
    prompts: tuple[Use, ...]
    """The prompts that it stood in, oldest first."""
    caches: tuple[Piece, ...]
    """The KV caches on disk that know it. Those of a changed or deleted memory are not kept."""

    def __str__(self) -> str:
        made = counted(
            len(self.memories), "version of other memories", "versions of other memories"
        )
        told = counted(len(self.prompts), "prompt"), counted(len(self.caches), "cached piece")
        stood = (
            f"prompt {shortened(use.prompt, 80)}: version {use.version} at place {use.position}, "
            f"{minute(use.at)} UTC"
            for use in self.prompts
        )
        kept = (
            f"cache {piece.path.stem[:16]}: version {piece.version}, {piece.size:,} bytes"
            for piece in self.caches
        )
        return "\n".join(
            [
                f"{self.memory_id}: {', '.join((made, *told))}",
                *map(str, self.memories),
                *stood,
                *kept,
            ]
        )


class LineageVerbs:
    """Verbs that ask the provenance graph; see :mod:`memos_integrations.infrastructure.provenance`.

    Each answers for deleted memories, too. They raise :class:`CubeNotFoundError` for a memory
    that this namespace does not know, and :class:`InvalidInputError` for what is no id.
    """

    namespace: Namespace
    _vault: MemVault

    def history(self, id: str) -> list[MemCube]:
        """Every version of a memory, oldest first; also of a deleted one."""
        with self._view() as view:
            return view.chain(self._known(view, check_id(id)))

    async def ahistory(self, id: str) -> list[MemCube]:
        """:meth:`history` in a worker thread."""
        return await offload(self.history, id)

    def life(self, id: str) -> list[Passage]:
        """Every change of state, oldest first: who, when, why; also of a deleted memory."""
        with self._view() as view:
            return view.life(self._known(view, check_id(id)))

    async def alife(self, id: str) -> list[Passage]:
        """:meth:`life` in a worker thread."""
        return await offload(self.life, id)

    def uses(self, id: str) -> list[Use]:
        """The prompts that a memory stood in, as :meth:`record_uses` was told; oldest first.

        Raises :class:`CubeNotFoundError`.
        """
        cube_id = check_id(id)
        with self._view() as view:
            head = self._known(view, cube_id)
            return self._vault.placements.of(view.tx, head.cube_pk, cube_id)

    async def auses(self, id: str) -> list[Use]:
        """:meth:`uses` in a worker thread."""
        return await offload(self.uses, id)

    def lineage(
        self, id: str, *, direction: Direction = "both", depth: int | None = None
    ) -> nx.DiGraph[str]:
        """The provenance graph of a memory in W3C PROV words; also of a deleted one.

        Nodes are ``<id>@<version>`` (``kind="entity"``), ``activity:<id>`` and
        ``agent:<principal>``; each edge leads from the later thing to what it came from and
        carries its ``relation``. Changes of state are there as activities that ``used`` a
        version. ``depth`` limits the steps from the memory.
        """
        cube_id = check_id(id)
        if direction not in ("sources", "derived", "both"):
            raise InvalidInputError(f"direction {direction!r}: use 'sources', 'derived' or 'both'")
        if depth is not None and (
            isinstance(depth, bool) or not isinstance(depth, int) or depth < 0
        ):
            raise InvalidInputError(f"depth {depth!r}: give a number of steps, or None for all")
        steps = None if depth is None else min(depth, _MOST_STEPS)
        with self._view() as view:
            return view.closure(self._known(view, cube_id), direction, steps)

    async def alineage(self, id: str, **options: Any) -> nx.DiGraph[str]:
        """:meth:`lineage` in a worker thread."""
        return await offload(self.lineage, id, **options)

    def why(self, hit_or_id: Hit | MemCube | str) -> list[Step]:
        """From what came back, back to what was said first: a step a version, each a line to read.

        Of a hit or a memory, from the version that it shows; of an id, from the newest. Each step
        names what was done, by whom and when; the last one is the activity that first wrote it,
        with the speaker, time and source of the message as far as known. Of several sources it
        follows the oldest; :meth:`blame` tells them apart.
        """
        asked = hit_or_id.cube if isinstance(hit_or_id, Hit) else hit_or_id
        cube = asked if isinstance(asked, MemCube) else self.history(asked)[-1]
        graph = self.lineage(cube.id, direction="sources")
        return questions.path_to_origin(graph, self._node(graph, cube.id, cube.version))

    async def awhy(self, hit_or_id: Hit | MemCube | str) -> list[Step]:
        """:meth:`why` in a worker thread."""
        return await offload(self.why, hit_or_id)

    def blame(self, id: str, text: str | None = None) -> list[Blame]:
        """Which version of which memory brought each span of words of the present text.

        A merged memory's words are followed into its sources. With ``text``, only the spans that
        touch a place where it stands; :class:`InvalidInputError` if it stands nowhere in it.
        """
        sought = None if text is None else check_text(text)
        cube = self.history(id)[-1]
        graph = self.lineage(cube.id, direction="sources")
        return blame(graph, self._node(graph, cube.id, cube.version), sought)

    async def ablame(self, id: str, text: str | None = None) -> list[Blame]:
        """:meth:`blame` in a worker thread."""
        return await offload(self.blame, id, text)

    def impact(self, id: str) -> Impact:
        """What a memory had an effect on: memories made from it, prompts, KV caches.

        Also those of its older versions. Prompts are those that :meth:`record_uses` was told of,
        caches those that lie in the store's folder now.
        """
        cube_id = check_id(id)
        graph = self.lineage(cube_id, direction="derived")
        own = [node for node in graph if memory_of(node) == cube_id]
        found = {node for one in own for node in questions.impact(graph, one)}.difference(own)
        return Impact(
            memory_id=cube_id,
            memories=tuple(_derived(graph, node) for node in by_time(graph, found)),
            prompts=tuple(self.uses(cube_id)),
            caches=tuple(pieces_of(self._vault.folder / "kv", cube_id)),
        )

    async def aimpact(self, id: str) -> Impact:
        """:meth:`impact` in a worker thread."""
        return await offload(self.impact, id)

    def compare(self, id: str, before: int, after: int | None = None) -> Comparison:
        """What changed between two versions of a memory; ``after=None``: up to the newest.

        Raises :class:`CubeNotFoundError` for a version that it has not.
        """
        versions = {cube.version: cube for cube in self.history(id)}
        newest = max(versions)
        ends = []
        for number in (before, newest if after is None else after):
            if isinstance(number, bool) or not isinstance(number, int):
                raise InvalidInputError(f"version {number!r}: give the number of a version")
            if number not in versions:
                raise CubeNotFoundError(
                    f"memory {check_id(id)} has no version {number}: it is at version {newest}"
                )
            ends.append(versions[number])
        return compare(*ends)

    async def acompare(self, id: str, before: int, after: int | None = None) -> Comparison:
        """:meth:`compare` in a worker thread."""
        return await offload(self.compare, id, before, after)

    def save_lineage(
        self,
        id: str,
        path: str | os.PathLike[str],
        *,
        format: Format | None = None,
        direction: Direction = "both",
        depth: int | None = None,
        full: bool = False,
    ) -> Path:
        """Write :meth:`lineage` to a file, in the format that its ending names; return its path.

        ``.json`` is W3C PROV-JSON, ``.graphml`` GraphML, ``.mmd`` Mermaid, ``.svg`` and ``.png``
        pictures, ``.html`` a page to click through, ``.txt`` text. ``full`` draws activities and
        agents as boxes of their own, too. Raises :class:`InvalidInputError` for another ending
        and for a file that cannot be written, :class:`MissingExtraError` for a missing library.
        """
        graph = self.lineage(id, direction=direction, depth=depth)
        return save(graph, path, format=format, full=full)

    async def asave_lineage(self, id: str, path: str | os.PathLike[str], **options: Any) -> Path:
        """:meth:`save_lineage` in a worker thread."""
        return await offload(self.save_lineage, id, path, **options)

    # Within -------------------------------------------------------------------------------

    def _view(self) -> AbstractContextManager[Snapshot]:
        """What is read."""
        return self._vault.snapshot(self.namespace)

    def _known(self, view: Snapshot, cube_id: str) -> Head:
        head = view.head(cube_id, deleted=True)
        if head is None:
            raise CubeNotFoundError(f"no memory {cube_id} in namespace {'/'.join(self.namespace)}")
        return head

    def _node(self, graph: nx.DiGraph[str], cube_id: str, version: int) -> str:
        node = f"{cube_id}@{version}"
        if node not in graph:
            raise CubeNotFoundError(f"memory {cube_id} has no version {version} here")
        return node


def _derived(graph: nx.DiGraph[str], node: str) -> Derived:
    about = graph.nodes[node]
    return Derived(
        memory_of(node), about["version"], words(graph, node), about["at"], is_gone(graph, node)
    )
