"""``memory_tools``: search, save, update and forget, for an agent to call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, TypeAlias

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import Field

from memos_integrations import toolbox
from memos_integrations.errors import MemOSError
from memos_integrations.langchain.scope import NamespaceOf, Scope, thread_of
from memos_integrations.memos import MemOS
from memos_integrations.offload import offload
from memos_integrations.session import MemorySession

Query = Annotated[str, Field(min_length=1, description=toolbox.QUERY)]
Limit = Annotated[int, Field(ge=1, le=20, description=toolbox.LIMIT)]
Text = Annotated[str, Field(min_length=1, description=toolbox.TEXT)]
MemoryId = Annotated[str, Field(description=toolbox.ID)]
Runtime: TypeAlias = ToolRuntime[Any, Any]  # given by the agent; the model does not see it


def memory_tools(
    memory: MemOS | MemorySession, *, namespace: NamespaceOf | None = None
) -> list[BaseTool]:
    """Four tools: ``search_memory``, ``save_memory``, ``update_memory``, ``forget_memory``.

    ``create_agent(model, memory_tools(alice))`` for one user's session, or
    ``memory_tools(memory, namespace="{user_id}")`` for the user that the run's context names, as
    in :class:`MemOSMiddleware`. What a model can put right, such as an unknown id, comes back to it
    as the tool's error message. Saving is idempotent: a tool call that is run again saves once.
    """
    scope = Scope(memory, namespace)

    def search_memory(query: Query, limit: Limit = 5, runtime: Runtime = None) -> str:  # type: ignore[assignment]
        return toolbox.search_memory(scope.session(runtime), query, limit)

    def save_memory(text: Text, runtime: Runtime = None) -> str:  # type: ignore[assignment]
        call = getattr(runtime, "tool_call_id", None)
        key = f"{thread_of(runtime)}:{call}" if call else None
        return toolbox.save_memory(scope.session(runtime), text, call=key)

    def update_memory(id: MemoryId, text: Text, runtime: Runtime = None) -> str:  # type: ignore[assignment]
        return toolbox.update_memory(scope.session(runtime), id, text)

    def forget_memory(id: MemoryId, runtime: Runtime = None) -> str:  # type: ignore[assignment]
        return toolbox.forget_memory(scope.session(runtime), id)

    return [_tool(one) for one in (search_memory, save_memory, update_memory, forget_memory)]


def _tool(function: Callable[..., str]) -> BaseTool:
    return StructuredTool.from_function(
        func=_explained(function),
        coroutine=_in_a_thread(_explained(function)),
        name=function.__name__,
        description=toolbox.DESCRIPTIONS[function.__name__],
        handle_tool_error=True,
    )


def _explained(function: Callable[..., str]) -> Callable[..., str]:
    """The function, with errors that a model can act on."""

    def call(*args: Any, **kwargs: Any) -> str:
        try:
            return function(*args, **kwargs)
        except MemOSError as error:
            raise ToolException(str(error)) from error

    return wraps(function)(call)


def _in_a_thread(function: Callable[..., str]) -> Callable[..., Awaitable[str]]:
    async def call(*args: Any, **kwargs: Any) -> str:
        return await offload(function, *args, **kwargs)

    return wraps(function)(call)
