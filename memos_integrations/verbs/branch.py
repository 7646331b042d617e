"""What a session can do with branches: try something out, then keep it or not."""

from __future__ import annotations

from memos_integrations.checks import Namespace, check_text
from memos_integrations.cube import Principal
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.offload import offload
from memos_integrations.operation.branches import Branch, Branches, Prefer
from memos_integrations.operation.timemachine import Change


class BranchVerbs:
    """Verbs of branches; see :mod:`memos_integrations.operation.branches`."""

    principal: Principal
    namespace: Namespace
    _branches: Branches
    _vault: MemVault

    def branches(self) -> list[Branch]:
        """The branches of this namespace, in the order of their beginnings."""
        self._vault.require("read", self.namespace, "list the branches of")
        return self._branches.all(self.namespace)

    async def abranches(self) -> list[Branch]:
        """:meth:`branches`, without blocking the event loop."""
        return await offload(self.branches)

    def merge_branch(self, name: str, *, prefer: Prefer | None = None) -> list[Change]:
        """Bring what changed in a branch into this namespace, and end the branch.

        What was added there gets a new id here; what was changed, a new version whose lineage
        names the branch's; what was deleted, is deleted. Where both sides have changed a memory,
        :class:`BranchConflictError` shows both, unless ``prefer`` is ``"branch"`` or ``"main"``.
        All or nothing. Returns what changed here. Raises :class:`BranchNotFoundError`.
        """
        if prefer not in (None, "branch", "main"):
            raise InvalidInputError(f"prefer is {prefer!r}: use 'branch', 'main' or None")
        self._vault.require("write", self.namespace, "merge a branch into")
        return self._branches.merge(self.namespace, self.principal, _name(name), prefer)

    async def amerge_branch(self, name: str, *, prefer: Prefer | None = None) -> list[Change]:
        """:meth:`merge_branch`, without blocking the event loop."""
        return await offload(self.merge_branch, name, prefer=prefer)

    def drop_branch(self, name: str) -> int:
        """End a branch and delete what is in it; return how many memories that were.

        Raises :class:`BranchNotFoundError`.
        """
        self._vault.require("write", self.namespace, "drop a branch of")
        return self._branches.drop(self.namespace, self.principal, _name(name))

    async def adrop_branch(self, name: str) -> int:
        """:meth:`drop_branch`, without blocking the event loop."""
        return await offload(self.drop_branch, name)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidInputError(f"a branch's name is a string, not {name!r}")
    return check_text(name, what="branch name", max_bytes=200)
