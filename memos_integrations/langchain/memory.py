"""``MemOSMemory``: the ``BaseMemory`` of chains, with recalled facts and recent history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_classic.base_memory import BaseMemory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, get_buffer_string
from pydantic import ConfigDict, Field, PrivateAttr

from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain.chat_history import MemOSChatMessageHistory
from memos_integrations.offload import offload
from memos_integrations.recall import Recall, RecallPolicy, block
from memos_integrations.session import MemorySession


class MemOSMemory(BaseMemory):
    """Two variables for a chain's prompt: ``memories``, what was found for this input in all
    conversations, and ``history``, the last messages of this one.

    ``LLMChain(llm=..., prompt=..., memory=MemOSMemory(session=alice))``. With
    ``return_messages=True`` the history is a list of messages, else text. New code is better
    served by ``MemOSMiddleware``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    session: MemorySession
    """Whose memory."""
    conversation_id: str = "default"
    """Which conversation ``history`` is of."""
    memory_key: str = "memories"
    """The variable for recalled facts; a block of text, empty if there are none."""
    history_key: str = "history"
    """The variable for the conversation."""
    input_key: str | None = None
    """Which input is the user's message, if there are several."""
    output_key: str | None = None
    """Which output is the answer, if there are several."""
    return_messages: bool = False
    """Whether ``history`` is a list of messages."""
    history_limit: int = Field(20, ge=1)
    """The most messages in ``history``."""
    recall: RecallPolicy = Field(default_factory=RecallPolicy)
    """How much is recalled."""
    human_prefix: str = "Human"
    ai_prefix: str = "AI"

    _recall: Recall = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Build what the fields describe."""
        self._recall = Recall(self.recall)

    @property
    def chat_memory(self) -> MemOSChatMessageHistory:
        """The conversation."""
        return MemOSChatMessageHistory(self.session, self.conversation_id)

    @property
    def memory_variables(self) -> list[str]:
        """The names of the two variables."""
        return [self.memory_key, self.history_key]

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The variables for these inputs."""
        recent = self.chat_memory.messages[-self.history_limit :]
        seen = {message.id for message in recent if message.id}
        question = self._one(inputs, self.input_key, "input") if inputs else ""
        found = self._recall.find(
            self.session, question, seen=seen, conversation=self.conversation_id
        )
        if found:
            prompt = f"{self.conversation_id}:{len(recent)}"
            self._recall.guarded(
                "reporting", lambda: self.session.record_uses(found, prompt=prompt), None
            )
        return {
            self.memory_key: block(found) if found else "",
            self.history_key: recent if self.return_messages else self._as_text(recent),
        }

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, str]) -> None:
        """Remember one exchange."""
        asked = self._one(inputs, self.input_key, "input")
        answered = self._one(outputs, self.output_key, "output")
        new_key = self.session.shelf("chat").new_key
        self.chat_memory.add_messages(
            [
                HumanMessage(content=asked, id=new_key()),
                AIMessage(content=answered, id=new_key()),
            ]
        )

    def clear(self) -> None:
        """Forget this conversation; what was learned in others stays."""
        self.chat_memory.clear()

    async def aload_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """:meth:`load_memory_variables` in a worker thread."""
        return await offload(self.load_memory_variables, inputs)

    async def asave_context(self, inputs: dict[str, Any], outputs: dict[str, str]) -> None:
        """:meth:`save_context` in a worker thread."""
        await offload(self.save_context, inputs, outputs)

    async def aclear(self) -> None:
        """:meth:`clear` in a worker thread."""
        await offload(self.clear)

    def _one(self, values: Mapping[str, Any], key: str | None, what: str) -> str:
        """The message among a chain's inputs or outputs."""
        if key is None:
            own = {*self.memory_variables, "stop"}
            names = [name for name in values if name not in own]
            if len(names) != 1:
                raise InvalidInputError(
                    f"the {what}s are {sorted(names)}: say which is the message with {what}_key="
                )
            key = names[0]
        if key not in values:
            raise InvalidInputError(f"{what}_key is {key!r}, and the {what}s are {sorted(values)}")
        return str(values[key])

    def _as_text(self, messages: list[BaseMessage]) -> str:
        return get_buffer_string(messages, human_prefix=self.human_prefix, ai_prefix=self.ai_prefix)
