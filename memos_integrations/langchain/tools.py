"""``memory_tools``: search, save, update and forget, for an agent to call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import Field

from memos_integrations.cube import MemCube
from memos_integrations.errors import CubeNotFoundError, MemOSError
from memos_integrations.langchain.scope import NamespaceOf, Scope, thread_of
from memos_integrations.memos import MemOS
from memos_integrations.recall import clean
from memos_integrations.session import MemorySession, offload

Query = Annotated[str, Field(min_length=1, description="what to look for, in plain words")]
Limit = Annotated[int, Field(ge=1, le=20, description="the most memories to return")]
Text = Annotated[
    str,
    Field(min_length=1, description="one fact in a full sentence that can be understood alone"),
]
MemoryId = Annotated[str, Field(description="the id of a memory, as search_memory gave it")]


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

    def search_memory(query: Query, limit: Limit = 5, runtime: ToolRuntime[Any, Any] = None) -> str:  # type: ignore[assignment]
        """Search what is remembered about the user and earlier conversations."""
        hits = scope.session(runtime).search(clean(query), limit=limit)
        return json.dumps([_shown(hit.cube) for hit in hits], ensure_ascii=False)

    def save_memory(text: Text, runtime: ToolRuntime[Any, Any] = None) -> str:  # type: ignore[assignment]
        """Remember a lasting fact, preference or plan. Search first: correct what is known."""
        text = clean(text)
        call = getattr(runtime, "tool_call_id", None)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        key = f"tool:{thread_of(runtime)}:{call}:{digest}" if call else None
        added = scope.session(runtime).add(text, origin="assistant", idempotency_key=key)
        return json.dumps({"saved": [cube.id for cube in added]})

    def update_memory(id: MemoryId, text: Text, runtime: ToolRuntime[Any, Any] = None) -> str:  # type: ignore[assignment]
        """Correct a memory that is no longer true. Its older versions are kept."""
        cube = scope.session(runtime).update(id, clean(text))
        return json.dumps({"updated": cube.id, "version": cube.version})

    def forget_memory(id: MemoryId, runtime: ToolRuntime[Any, Any] = None) -> str:  # type: ignore[assignment]
        """Forget a memory, when the user asks for it. It is not found any more."""
        scope.session(runtime).delete(id)
        return json.dumps({"forgotten": id})

    return [_tool(one) for one in (search_memory, save_memory, update_memory, forget_memory)]


def _tool(function: Callable[..., str]) -> BaseTool:
    return StructuredTool.from_function(
        func=_explained(function),
        coroutine=_in_a_thread(_explained(function)),
        name=function.__name__,
        handle_tool_error=True,
    )


def _explained(function: Callable[..., str]) -> Callable[..., str]:
    """The function, with errors that a model can act on."""

    def call(*args: Any, **kwargs: Any) -> str:
        try:
            return function(*args, **kwargs)
        except CubeNotFoundError as error:
            raise ToolException(
                f"{error}. Call search_memory for the ids that there are"
            ) from error
        except MemOSError as error:
            raise ToolException(str(error)) from error

    return wraps(function)(call)


def _in_a_thread(function: Callable[..., str]) -> Callable[..., Awaitable[str]]:
    async def call(*args: Any, **kwargs: Any) -> str:
        return await offload(function, *args, **kwargs)

    return wraps(function)(call)


def _shown(cube: MemCube) -> dict[str, Any]:
    about = cube.header.descriptive
    day = (about.event_time or about.said_at or about.created_at).date().isoformat()
    facts = {"id": cube.id, "text": cube.text, "date": day, "said_by": about.speaker or about.role}
    return {name: value for name, value in facts.items() if value is not None}
