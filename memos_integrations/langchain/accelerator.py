"""``KVCacheAccelerator``: a callback that precomputes the caches of memories in use."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage

from memos_integrations.accelerator import Accelerator
from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain.chat_model import ChatMemOS, as_plain
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.admission import AdmissionPolicy, Decision


class KVCacheAccelerator(BaseCallbackHandler):
    """``agent.invoke(..., config={"callbacks": [KVCacheAccelerator(model)]})``.

    It sees which memories reach the model, and computes in the background, while no request is
    waiting, the caches of those that are used often: a new conversation then begins warm, also
    after a memory was corrected. It never changes an answer. Use one for each model.
    """

    def __init__(
        self,
        model: ChatMemOS | LocalChat,
        *,
        policy: AdmissionPolicy | None = None,
        hottest: int = 8,
    ) -> None:
        chat = model.local if isinstance(model, ChatMemOS) else model
        if not isinstance(chat, LocalChat):
            raise InvalidInputError(
                f"model is {type(model).__name__}: give a ChatMemOS. Other models' caches live "
                "where they run"
            )
        self.accelerator = Accelerator(chat, policy=policy, hottest=hottest)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        invocation_params: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """A chat goes to the model, with the tools that it was bound to."""
        tools = (invocation_params or {}).get("tools")
        for chat in messages:
            self.accelerator.saw([as_plain(message) for message in chat], tools)

    def report(self) -> dict[str, Any]:
        """Hit rate, tokens saved, first-token times, and what was precomputed; JSON-plain."""
        return self.accelerator.report()

    def explain(self, cube_id: str) -> Decision | None:
        """Whether a memory is worth a cache, and why; ``None`` if it was never in a prompt."""
        return self.accelerator.explain(cube_id)

    def close(self) -> None:
        """End the background work."""
        self.accelerator.close()
