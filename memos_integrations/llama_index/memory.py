"""``MemOSMemory``: the memory of chat engines and agents, over conversations and processes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Literal

from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.llms.llm import LLM
from llama_index.core.memory.types import BaseMemory
from llama_index.core.utils import get_tokenizer

from memos_integrations.conversation import Conversation, Message
from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.llama_index.counting import TokenCounts
from memos_integrations.llama_index.events import MemoryRecalled, MemoryRecorded
from memos_integrations.llama_index.handles import handle_of, session_of
from memos_integrations.llama_index.messages import (
    NOTED,
    as_said,
    from_message,
    newest_within,
    to_message,
    tokens_of,
)
from memos_integrations.offload import offload
from memos_integrations.recall import Recall, RecallPolicy, block, repeats
from memos_integrations.session import MemorySession

dispatcher = get_dispatcher(__name__)

Tokenizer = Callable[[str], Sequence[Any]]
Fits = Callable[[Sequence[MemCube]], bool]

_TURN = 2
"""Tokens kept free for the answer to a block that has a turn of its own."""


_COUNTED = 256
"""Texts whose number of tokens a memory keeps."""


class MemOSMemory(BaseMemory):
    """Recent history within a token limit, and what is recalled from all conversations.

    ``index.as_chat_engine(memory=MemOSMemory.from_defaults(session=alice))`` and
    ``agent.run(..., memory=...)``. Every message is written through at once, as a memory of the
    session. What is recalled for a user's message stands in one marked block and stays the same
    until the next one; it is never stored again.

    ``position="user"`` puts the block at the head of the newest user message; where an engine adds
    that message itself, into a turn before it. ``position="system"`` puts it into the history's
    system message, or makes one: for engines and agents without a system prompt of their own.

    :meth:`reset` empties the conversation, and what was said stays remembered;
    :meth:`forget_conversation` deletes it.
    """

    conversation_id: str = Field(description="which conversation the history is of")
    token_limit: int = Field(3_000, description="the most tokens of history and memories")
    position: Literal["user", "system"] = Field("user", description="where the block stands")

    _session: MemorySession = PrivateAttr()
    _recall: Recall = PrivateAttr()
    _tokenizer: Tokenizer = PrivateAttr()
    _tokens: Callable[[str], int] = PrivateAttr()
    _asked: tuple[str, int] | None = PrivateAttr(default=None)
    _found: list[MemCube] = PrivateAttr(default_factory=list)
    _lock: Any = PrivateAttr(default_factory=threading.RLock)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "MemOSMemory"

    @classmethod
    def from_defaults(
        cls,
        session: MemorySession | None = None,
        *,
        conversation_id: str | None = None,
        chat_history: list[ChatMessage] | None = None,
        llm: LLM | None = None,
        token_limit: int | None = None,
        tokenizer_fn: Tokenizer | None = None,
        position: Literal["user", "system"] = "user",
        recall: RecallPolicy | None = None,
        **_: Any,
    ) -> MemOSMemory:
        """The memory of a conversation: a new one, or that of ``conversation_id``.

        ``token_limit`` is by default two thirds of the context window of ``llm``, or 3,000. Pass
        the model's own ``tokenizer_fn``: LlamaIndex's default counts as gpt-3.5 does.
        ``recall`` says how much is recalled (:class:`memos_integrations.recall.RecallPolicy`).
        """
        if not isinstance(session, MemorySession):
            raise InvalidInputError(
                "MemOSMemory needs a session: from_defaults(session=memory.session(user))"
            )
        if token_limit is None:
            token_limit = llm.metadata.context_window * 2 // 3 if llm is not None else 3_000
        if token_limit < 1:
            raise InvalidInputError(f"token_limit is {token_limit!r}: give a number from 1 on")
        memory = cls(
            conversation_id=conversation_id or str(uuid.uuid4()),
            token_limit=token_limit,
            position=position,
        )
        memory._bind(session, recall or RecallPolicy(), tokenizer_fn or get_tokenizer())
        if chat_history is not None:
            memory.set(chat_history)
        return memory

    def _bind(self, session: MemorySession, policy: RecallPolicy, tokenizer: Tokenizer) -> None:
        Conversation(session, self.conversation_id)  # refuses an id that cannot be kept
        self._session, self._recall, self._tokenizer = session, Recall(policy), tokenizer
        # A history is counted at every turn; its messages stay the same.
        self._tokens = TokenCounts(lambda text: len(tokenizer(text)), _COUNTED)

    @property
    def session(self) -> MemorySession:
        """Whose memory."""
        return self._session

    @property
    def tokenizer_fn(self) -> Tokenizer:
        """What tokens are counted with; chat engines ask for it."""
        return self._tokenizer

    @property
    def _conversation(self) -> Conversation:
        return Conversation(self._session, self.conversation_id)

    # Reading ------------------------------------------------------------------------------

    @dispatcher.span
    def get(self, input: str | ChatMessage | None = None, **kwargs: Any) -> list[ChatMessage]:
        """The history within the token limit, with what is recalled for ``input``.

        Without an input, for the newest user message. ``initial_token_count`` is what the caller's
        own messages take of the limit. Messages are copies.
        """
        tokens = self._tokens
        kept = [one for one in self._conversation.messages() if not one.archived]
        history = [from_message(one) for one in kept]
        room = max(1, self.token_limit - int(kwargs.get("initial_token_count") or 0))
        shown = newest_within(history, room, tokens)
        there = {id(one) for one in shown}
        seen = {one.memory_id for one, said in zip(kept, history, strict=True) if id(said) in there}
        asked = max((i for i, m in enumerate(shown) if m.role == MessageRole.USER), default=0)
        # What is recalled never displaces the newest turn.
        needed = sum(tokens_of(one, tokens) for one in shown[asked:])

        def fits(cubes: Sequence[MemCube]) -> bool:
            return tokens(block(cubes)) + _TURN <= room - needed

        cubes = self._recalled(kept, input, seen, fits)
        if not cubes:
            return shown
        spent = tokens(block(cubes))
        shown = newest_within(history, max(1, room - spent), tokens)
        return self._with_block(shown, cubes, input)

    def get_all(self) -> list[ChatMessage]:
        """The whole history, without recalled memories; copies."""
        return [from_message(one) for one in self._conversation.messages()]

    def _recalled(
        self, kept: Sequence[Message], input: str | ChatMessage | None, seen: Set[str], fits: Fits
    ) -> list[MemCube]:
        """The memories for the user's message: searched for once, then read again."""
        said = [one.text for one in kept if one.role == "user"]
        question = _text(input) if input is not None else (said[-1] if said else "")
        if not question.strip():
            return []
        # An engine may ask before or after it has put the message.
        turn = len(said) - (1 if said and said[-1] == question else 0)
        with self._lock:
            if self._asked == (question, turn):
                ids = [cube.id for cube in self._found]
                cubes = self._recall.again(self._session, ids) if ids else []
                while cubes and not fits(cubes):  # corrected meanwhile, and longer now
                    cubes = cubes[1:]
            else:
                cubes = self._recall.find(self._session, question, seen=seen, room=fits)
                self._asked, self._found = (question, turn), cubes
                ids = [cube.id for cube in cubes]
                dispatcher.event(MemoryRecalled(question=question, memory_ids=ids))
        if cubes:
            self._recall.guarded(
                "reporting",
                lambda: self._session.record_uses(cubes, prompt=f"{self.conversation_id}:{turn}"),
                None,
            )
        return cubes

    def _with_block(
        self, shown: list[ChatMessage], cubes: Sequence[MemCube], input: object
    ) -> list[ChatMessage]:
        written = TextBlock(text=block(cubes))
        if self.position == "system":
            if shown and shown[0].role == MessageRole.SYSTEM:
                shown[0].blocks = [*shown[0].blocks, written]
                return shown
            return [_message(MessageRole.SYSTEM, written), *shown]
        last = max((i for i, m in enumerate(shown) if m.role == MessageRole.USER), default=None)
        question = _text(input) if input is not None else None
        if last is not None and question in (None, shown[last].content):
            shown[last].blocks = [written, *shown[last].blocks]
            return shown
        answer = _message(MessageRole.ASSISTANT, TextBlock(text=NOTED))
        return [*shown, _message(MessageRole.USER, written), answer]

    # Writing ------------------------------------------------------------------------------

    @dispatcher.span
    def put(self, message: ChatMessage) -> None:
        """Append a message; it is on disk when this returns."""
        self.put_messages([message])

    def put_messages(self, messages: list[ChatMessage]) -> None:
        """Append messages, all or none; what was recalled into them is not kept."""
        said = as_said(messages)
        if said:
            self._conversation.append(self._kept(said))
            dispatcher.event(MemoryRecorded(count=len(said)))

    def _kept(self, said: Sequence[ChatMessage]) -> list[Message]:
        """The messages to keep; an answer that repeats a recalled memory is history, no memory."""
        with self._lock:
            recalled = list(self._found)
        if any(one.role == MessageRole.ASSISTANT for one in said):
            recalled += self._recall.known(self._session)
        return [
            replace(one, searched=one.role != "assistant" or not repeats(one.text, recalled))
            for one in map(to_message, said)
        ]

    @dispatcher.span
    def set(self, messages: list[ChatMessage]) -> None:
        """Make the history be these messages; those that stand there already are not written."""
        self._conversation.replace(self._kept(as_said(messages)))

    def reset(self) -> None:
        """Empty the history. What was said stays remembered, and may be recalled."""
        self._conversation.release()
        with self._lock:
            self._asked, self._found = None, []

    def forget_conversation(self) -> None:
        """Delete the history and the memories that its messages are."""
        self._conversation.clear()
        with self._lock:
            self._asked, self._found = None, []

    # The same, for asyncio ----------------------------------------------------------------

    async def aget(
        self, input: str | ChatMessage | None = None, **kwargs: Any
    ) -> list[ChatMessage]:
        """:meth:`get` in a worker thread."""
        return await offload(self.get, input, **kwargs)

    async def aget_all(self) -> list[ChatMessage]:
        """:meth:`get_all` in a worker thread."""
        return await offload(self.get_all)

    async def aput(self, message: ChatMessage) -> None:
        """:meth:`put` in a worker thread."""
        await offload(self.put, message)

    async def aput_messages(self, messages: list[ChatMessage]) -> None:
        """:meth:`put_messages` in a worker thread."""
        await offload(self.put_messages, messages)

    async def aset(self, messages: list[ChatMessage]) -> None:
        """:meth:`set` in a worker thread."""
        await offload(self.set, messages)

    async def areset(self) -> None:
        """:meth:`reset` in a worker thread."""
        await offload(self.reset)

    async def aforget_conversation(self) -> None:
        """:meth:`forget_conversation` in a worker thread."""
        await offload(self.forget_conversation)

    # Handles, not contents ----------------------------------------------------------------

    def to_dict(self, **_: Any) -> dict[str, Any]:
        """Where the memory is, not what it holds: JSON-plain."""
        policy = self._recall.policy
        return {
            "class_name": self.class_name(),
            **handle_of(self._session),
            "conversation_id": self.conversation_id,
            "token_limit": self.token_limit,
            "position": self.position,
            "recall": {
                "limit": policy.limit,
                "token_budget": policy.token_budget,
                "filters": None if policy.filters is None else dict(policy.filters),
                "leave_out": list(policy.leave_out),
                "order": policy.order,
                "around": policy.around,
                "timeout": policy.timeout,
                "on_error": policy.on_error,
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], **kwargs: Any) -> MemOSMemory:
        """The memory that a dict of :meth:`to_dict` stands for, in this process.

        The store is the open one of that folder, or opened with the bundled embedder. Tokenizers
        are not written: pass ``tokenizer_fn`` for another than LlamaIndex's default.
        """
        return cls.from_defaults(
            session_of(data),
            conversation_id=data["conversation_id"],
            token_limit=data["token_limit"],
            position=data["position"],
            recall=RecallPolicy(
                **{**data["recall"], "leave_out": tuple(data["recall"]["leave_out"])}
            ),
            tokenizer_fn=kwargs.get("tokenizer_fn"),
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.to_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        other = type(self).from_dict(state)
        super().__setstate__(BaseMemory.__getstate__(other))
        self._bind(other._session, other._recall.policy, other._tokenizer)
        self._asked, self._found, self._lock = None, [], threading.RLock()


def _text(input: object) -> str:
    return (input.content or "") if isinstance(input, ChatMessage) else str(input)


def _message(role: MessageRole, written: TextBlock) -> ChatMessage:
    return ChatMessage(role=role, blocks=[written])
