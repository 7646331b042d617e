"""``MemOSToolSpec``: search, save, update and forget, for a LlamaIndex agent to call."""

from __future__ import annotations

from typing import Annotated, ClassVar

from llama_index.core.bridge.pydantic import Field
from llama_index.core.tools.tool_spec.base import BaseToolSpec

from memos_integrations import toolbox
from memos_integrations.offload import offload
from memos_integrations.session import MemorySession

Query = Annotated[str, Field(description=toolbox.QUERY)]
Limit = Annotated[int, Field(ge=1, le=20, description=toolbox.LIMIT)]
Text = Annotated[str, Field(description=toolbox.TEXT)]
MemoryId = Annotated[str, Field(description=toolbox.ID)]


class MemOSToolSpec(BaseToolSpec):
    """``FunctionAgent(tools=MemOSToolSpec(alice).to_tool_list(), ...)``.

    The same four tools as in LangChain. Errors say what to do; the agent hands them to the model.
    """

    spec_functions: ClassVar[list[tuple[str, str]]] = [  # type: ignore[assignment,misc]
        ("search_memory", "asearch_memory"),
        ("save_memory", "asave_memory"),
        ("update_memory", "aupdate_memory"),
        ("forget_memory", "aforget_memory"),
    ]

    def __init__(self, session: MemorySession) -> None:
        self.session = session

    def search_memory(self, query: Query, limit: Limit = 5) -> str:
        """Search what is remembered about the user and earlier conversations."""
        return toolbox.search_memory(self.session, query, limit)

    def save_memory(self, text: Text) -> str:
        """Remember a lasting fact, preference or plan. Search first: update what has changed."""
        return toolbox.save_memory(self.session, text)

    def update_memory(self, id: MemoryId, text: Text) -> str:
        """Correct a memory that is no longer true. Its older versions are kept."""
        return toolbox.update_memory(self.session, id, text)

    def forget_memory(self, id: MemoryId) -> str:
        """Forget a memory, when the user asks for it. It is not found any more."""
        return toolbox.forget_memory(self.session, id)

    async def asearch_memory(self, query: Query, limit: Limit = 5) -> str:
        """:meth:`search_memory` in a worker thread."""
        return await offload(self.search_memory, query, limit)

    async def asave_memory(self, text: Text) -> str:
        """:meth:`save_memory` in a worker thread."""
        return await offload(self.save_memory, text)

    async def aupdate_memory(self, id: MemoryId, text: Text) -> str:
        """:meth:`update_memory` in a worker thread."""
        return await offload(self.update_memory, id, text)

    async def aforget_memory(self, id: MemoryId) -> str:
        """:meth:`forget_memory` in a worker thread."""
        return await offload(self.forget_memory, id)
