"""``MemOSMiddleware``: an agent that remembers, in one line of ``create_agent``."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypeGuard

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
)
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.rewriting import Rewriter
from memos_integrations.langchain.scope import NamespaceOf, Scope, thread_of
from memos_integrations.memos import MemOS
from memos_integrations.offload import offload
from memos_integrations.protocols import Knows
from memos_integrations.recall import (
    Recall,
    RecallPolicy,
    Said,
    about_tokens,
    block,
    clean,
)
from memos_integrations.session import MemorySession


class RecalledState(AgentState[Any]):
    """The agent's state with the ids of what was recalled: JSON-plain, and no memory's text."""

    memos: NotRequired[Annotated[dict[str, Any], PrivateStateAttr]]


class MemOSMiddleware(AgentMiddleware[RecalledState, Any, Any]):
    """Recalls before the first model call of a turn, and records the turn when it has ended.

    ``create_agent(model, tools, middleware=[MemOSMiddleware(alice)])`` for one user's session;
    ``MemOSMiddleware(memory)`` for many: the user is read from the run's context,
    ``agent.invoke(..., context={"user_id": "alice"})``. ``namespace`` is a template such as
    ``("acme", "{user_id}")`` or a function of the runtime. A run without its user fails at once.

    - ``layout``: where the block of memories stands. ``"after_history"`` puts it before the newest
      human message: the system prompt and the older history stay as they were, and keep a
      provider's prompt cache. ``"stable_prefix"`` puts it at the end of the system message: the
      prefix of system prompt and memories repeats as long as the same memories are recalled.
    - ``cache_control``: set at the end of that prefix, for providers that cache what is marked:
      ``{"type": "ephemeral"}`` for Anthropic. Others cache prefixes unasked. Use it with
      ``order="use"``; :class:`HostedPrefixCache` reports what it saves.
    - ``limit``, ``token_budget``, ``count_tokens``: how much is recalled. Recorded
      questions never are. ``filters`` and ``rewrite`` as in :meth:`MemorySession.search`.
      ``around``: how many turns before and after each recalled one fill what is left of the budget.
    - ``skip_known``: a ``ChatMemOS`` that is read through adapters: what they know is left out.
    - ``recall_timeout`` in seconds, ``on_error``: with ``"ignore"`` the agent goes on without
      memory and a warning is logged; with ``"raise"`` it fails.
    - ``record``: ``"turn"`` remembers what the user and the assistant said, ``"user"`` only the
      user's words, ``"nothing"`` nothing. An answer that repeats a recalled memory word for word
      is not kept as another memory.

    Of what was recalled the state keeps ids, not words, and memories are read again at each model
    call: what is forgotten during a run is gone from its next prompt. (What a tool answered is a
    message like any other, and stands in checkpoints.)
    """

    state_schema = RecalledState

    def __init__(
        self,
        memory: MemOS | MemorySession,
        *,
        namespace: NamespaceOf | None = None,
        layout: Literal["after_history", "stable_prefix"] = "after_history",
        order: Literal["age", "use"] = "age",
        cache_control: Mapping[str, Any] | None = None,
        limit: int = 8,
        token_budget: int = 1_000,
        count_tokens: Callable[[str], int] = about_tokens,
        filters: Mapping[str, Any] | None = None,
        around: int = 0,
        rewrite: Rewriter | None = None,
        skip_known: Knows | None = None,
        recall_timeout: float | None = 2.0,
        on_error: Literal["ignore", "raise"] = "ignore",
        record: Literal["turn", "user", "nothing"] = "turn",
    ) -> None:
        super().__init__()
        if layout not in ("after_history", "stable_prefix"):
            raise InvalidInputError(f"layout {layout!r}: use 'after_history' or 'stable_prefix'")
        if record not in ("turn", "user", "nothing"):
            raise InvalidInputError(f"record {record!r}: use 'turn', 'user' or 'nothing'")
        if cache_control is not None and layout != "stable_prefix":
            raise InvalidInputError(
                'cache_control marks the end of a stable prefix: use layout="stable_prefix"'
            )
        self.tools = []
        self._mark = dict(cache_control) if cache_control is not None else None
        self._scope, self._layout, self._record = Scope(memory, namespace), layout, record
        self._recall = Recall(
            RecallPolicy(
                order=order,
                limit=limit,
                token_budget=token_budget,
                count_tokens=count_tokens,
                filters=filters,
                around=around,
                rewrite=rewrite,
                skip_known=skip_known,
                timeout=recall_timeout,
                on_error=on_error,
            )
        )

    # Recalling, once for each human message ------------------------------------------------

    def before_agent(self, state: RecalledState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Find the memories for the newest human message."""
        session = self._scope.session(runtime)
        question = _newest_question(state["messages"])
        if question is None:
            return None
        asked = hashlib.sha256(clean(str(question.text)).encode()).hexdigest()[:16]
        this = {"message": question.id, "asked": asked}
        known = state.get("memos") or {}
        if question.id and known.items() >= this.items():
            return None
        found = self._recall.find(
            session,
            str(question.text),
            seen={message.id for message in state["messages"] if message.id},
            conversation=thread_of(runtime),
        )
        return {"memos": {**this, "ids": [cube.id for cube in found]}}

    async def abefore_agent(
        self, state: RecalledState, runtime: Runtime[Any]
    ) -> dict[str, Any] | None:
        """:meth:`before_agent` in a worker thread."""
        return await offload(self.before_agent, state, runtime)

    # Showing, at each model call -------------------------------------------------------------

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Put the block of memories into the request."""
        return handler(self._shown(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """The same, read in a worker thread."""
        return await handler(await offload(self._shown, request))

    def _shown(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        recalled: Mapping[str, Any] = request.state.get("memos") or {}  # type: ignore[assignment]
        ids = recalled.get("ids") or []
        if not ids:
            return request
        session = self._scope.session(request.runtime)
        cubes = self._recall.again(session, ids)
        if not cubes:
            return request
        self._report(session, cubes, request.runtime, str(recalled.get("message")))
        if self._layout == "stable_prefix":
            prefix = _appended(request.system_message, block(cubes), self._mark)
            return request.override(system_message=prefix)
        return request.override(messages=_inserted(request.messages, block(cubes)))

    def _report(
        self, session: MemorySession, cubes: Sequence[MemCube], runtime: Any, message: str
    ) -> None:
        """Which memories stood in which prompt, for those who decide what to keep at hand."""
        prompt = ":".join(filter(None, [thread_of(runtime), message]))
        self._recall.guarded(
            "reporting", lambda: session.record_uses(cubes, prompt=clean(prompt)[:256]), None
        )

    # Recording, when the turn has ended ----------------------------------------------------------

    def after_agent(self, state: RecalledState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Remember what the user said, and what the assistant answered."""
        if self._record != "nothing":
            turn = _turn(state["messages"], with_answers=self._record == "turn")
            session = self._scope.session(runtime)
            ids = (state.get("memos") or {}).get("ids") or []
            recalled = self._recall.again(session, ids) if ids and len(turn) > 1 else []
            self._recall.record(session, turn, conversation=thread_of(runtime), recalled=recalled)
        return None

    async def aafter_agent(
        self, state: RecalledState, runtime: Runtime[Any]
    ) -> dict[str, Any] | None:
        """:meth:`after_agent` in a worker thread."""
        return await offload(self.after_agent, state, runtime)


def _newest_question(messages: Sequence[AnyMessage]) -> HumanMessage | None:
    return next((m for m in reversed(messages) if _is_said(m)), None)


def _is_said(message: AnyMessage) -> TypeGuard[HumanMessage]:
    """A user's own message: LangChain's summaries are human messages, too, and say so."""
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs


def _turn(messages: Sequence[AnyMessage], *, with_answers: bool) -> list[Said]:
    """The newest human messages in a row, and what the assistant said after them."""
    newest = _newest_question(messages)
    if newest is None:
        return []
    at = start = max(i for i, message in enumerate(messages) if message is newest)
    while start > 0 and _is_said(messages[start - 1]):
        start -= 1
    said = [Said(_id(m, i), "user", str(m.text), m.name) for i, m in enumerate(messages)][
        start : at + 1
    ]
    if with_answers:
        said += [
            Said(_id(m, i), "assistant", str(m.text), m.name)
            for i, m in enumerate(messages)
            if i > at and isinstance(m, AIMessage) and not m.tool_calls
        ]
    return said


def _id(message: AnyMessage, position: int) -> str:
    return message.id or str(position)


def _appended(
    system: SystemMessage | None, text: str, mark: Mapping[str, Any] | None
) -> SystemMessage:
    system = system if system is not None else SystemMessage(content="")
    content = _joined(system.content, text, first=False)
    if mark is not None:
        pieces = [{"type": "text", "text": content}] if isinstance(content, str) else content
        content = [*pieces[:-1], {**pieces[-1], "cache_control": dict(mark)}]
    return system.model_copy(update={"content": content})


def _inserted(messages: Sequence[AnyMessage], text: str) -> list[Any]:
    """The messages with the block at the head of the newest human one; copies, not the state's."""
    shown = list(messages)
    for i in range(len(shown) - 1, -1, -1):
        if isinstance(shown[i], HumanMessage):
            content = _joined(shown[i].content, text, first=True)
            shown[i] = shown[i].model_copy(update={"content": content})
            return shown
    return [HumanMessage(content=text), *shown]


def _joined(content: Any, text: str, *, first: bool) -> Any:
    if isinstance(content, str):
        parts = [text, content] if first else [content, text]
        return "\n\n".join(part for part in parts if part)
    piece = {"type": "text", "text": text}
    return [piece, *content] if first else [*content, piece]
