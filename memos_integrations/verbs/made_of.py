"""What verbs share that make something of memories which is a memory of its own."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from contextlib import AbstractContextManager

from memos_integrations.checks import Namespace, check_id
from memos_integrations.cube import MemCube, Principal
from memos_integrations.errors import CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure.quarantine import is_held
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.activation.segments import Source
from memos_integrations.operation.adapters import sources_of
from memos_integrations.operation.operator import MemOperator
from memos_integrations.query import Hit


class MadeOf:
    """Finds what is to be made into something, and what was."""

    principal: Principal
    namespace: Namespace
    _vault: MemVault
    _operator: MemOperator

    def _view(self) -> AbstractContextManager[Snapshot]:
        raise NotImplementedError  # the session says of which moment

    def _sources(
        self, memories: Iterable[str | MemCube | Hit], verb: str = "distil"
    ) -> builtins.list[MemCube]:
        """These memories as they are now; each has words, and none is in quarantine."""
        if isinstance(memories, str | MemCube | Hit):
            memories = [memories]
        given = [one.cube if isinstance(one, Hit) else one for one in memories]
        ids = [one.id if isinstance(one, MemCube) else check_id(one) for one in given]
        if not ids:
            raise InvalidInputError(f"there are no memories to {verb}: give one or more")
        with self._view() as view:
            heads = {one: view.head(one) for one in dict.fromkeys(ids)}
            waiting = [
                one.cube.id for one in heads.values() if one and is_held(view.tx, one.cube_pk)
            ]
        if waiting:
            raise InvalidInputError(
                f"memory {waiting[0]} is in quarantine: look at it and release() it, or leave it"
            )
        found = [head.cube for head in heads.values() if head is not None]
        missing = [one for one, head in heads.items() if head is None]
        if missing:
            raise CubeNotFoundError(
                f"no memory {missing[0]} in namespace {'/'.join(self.namespace)}"
            )
        wordless = [one for one in found if not one.text]
        if wordless:
            raise InvalidInputError(
                f"memory {wordless[0].id} has no words ({wordless[0].memory_type}): {verb} the "
                "plaintext memories that it was made of"
            )
        return found

    def _made(self, memory_type: str) -> builtins.list[tuple[MemCube, tuple[Source, ...]]]:
        """The memories of this type here, each with those of its sources that changed since."""
        clauses = self._vault.clauses({"memory_type": memory_type})
        cubes: builtins.list[MemCube] = []
        after: str | None = None
        with self._view() as view:
            while page := view.page(clauses, 1_000, after):
                cubes += page
                after = page[-1].id
        asked = {(one.cube_id, one.version) for cube in cubes for one in sources_of(cube)}
        gone = self._vault.outdated(asked)
        return [
            (cube, tuple(one for one in sources_of(cube) if (one.cube_id, one.version) in gone))
            for cube in cubes
        ]
