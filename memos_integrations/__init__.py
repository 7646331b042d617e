"""Drop-in long-term memory for LangChain and LlamaIndex over a MemCube engine.

An independent implementation of *MemOS: A Memory OS for AI System* (arXiv 2507.03724)::

    from memos_integrations import MemOS

    with MemOS.open("~/.memos") as memory:
        alice = memory.session("alice")
        alice.add("I moved to Oslo in May and I am allergic to peanuts.")
        for hit in alice.search("what must I not cook for her?"):
            print(hit.score, hit.cube.text, hit.why)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Hit",
    "IndexPolicy",
    "MemCube",
    "MemOS",
    "MemOSError",
    "MemorySession",
    "Namespace",
    "Principal",
    "SearchPolicy",
    "TimeWindow",
]

if TYPE_CHECKING:
    from memos_integrations.checks import Namespace
    from memos_integrations.cube import MemCube, Principal
    from memos_integrations.errors import MemOSError
    from memos_integrations.infrastructure.index_keeper import IndexPolicy
    from memos_integrations.memos import MemOS
    from memos_integrations.operation.retrieving.policy import SearchPolicy
    from memos_integrations.query import Hit, TimeWindow
    from memos_integrations.session import MemorySession

_HOME = {
    "Hit": "query",
    "IndexPolicy": "infrastructure.index_keeper",
    "MemCube": "cube",
    "MemOS": "memos",
    "MemOSError": "errors",
    "MemorySession": "session",
    "Namespace": "checks",
    "Principal": "cube",
    "SearchPolicy": "operation.retrieving.policy",
    "TimeWindow": "query",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so importing the package is quick."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
