"""Where a session is, as JSON: what a serialised memory carries instead of its contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memos_integrations.cube import Principal
from memos_integrations.memos import MemOS
from memos_integrations.session import MemorySession


def handle_of(session: MemorySession) -> dict[str, Any]:
    """The folder of the store, who asks, and the namespace."""
    return {
        "store": str(session.store.resolve()),
        "principal": session.principal.model_dump(mode="json"),
        "namespace": list(session.namespace),
    }


def session_of(handle: Mapping[str, Any]) -> MemorySession:
    """The session in this process: of the open store, or of one opened with the bundled embedder.

    Errors are those of :meth:`MemOS.open`.
    """
    principal = Principal.model_validate(handle["principal"])
    return MemOS.at(handle["store"]).session(principal, namespace=list(handle["namespace"]))
