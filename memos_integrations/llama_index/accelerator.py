"""``KVCacheAccelerator``: precomputes the caches of memories in use, as LlamaIndex reports it."""

from __future__ import annotations

from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.llm import LLMChatStartEvent

from memos_integrations.accelerator import Accelerator
from memos_integrations.errors import InvalidInputError
from memos_integrations.llama_index.listening import Listener
from memos_integrations.llama_index.llm import MemOSLLM, plain
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.admission import AdmissionPolicy, Decision


class KVCacheAccelerator(Listener):
    """``KVCacheAccelerator(llm).install()``, once in a program.

    It sees which memories reach the model, and computes in the background, while no request is
    waiting, the caches of those that are used often: a new conversation then begins warm, also
    after a memory was corrected. It never changes an answer. Use one for each model.
    """

    _accelerator: Accelerator = PrivateAttr()

    def __init__(
        self,
        llm: MemOSLLM | LocalChat,
        *,
        policy: AdmissionPolicy | None = None,
        hottest: int = 8,
    ) -> None:
        super().__init__()
        self._accelerator = Accelerator(_chat_of(llm), policy=policy, hottest=hottest)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows it."""
        return "KVCacheAccelerator"

    def uninstall(self) -> None:
        """Listen no longer, and end the background work."""
        super().uninstall()
        self._accelerator.close()

    def handle(self, event: Any, **_: Any) -> None:
        """A chat goes to a model."""
        if isinstance(event, LLMChatStartEvent):
            self._accelerator.saw(plain(event.messages), event.additional_kwargs.get("tools"))

    @property
    def accelerator(self) -> Accelerator:
        """What works in the background."""
        return self._accelerator

    def report(self) -> dict[str, Any]:
        """Hit rate, tokens saved, first-token times, and what was precomputed; JSON-plain."""
        return self._accelerator.report()

    def explain(self, cube_id: str) -> Decision | None:
        """Whether a memory is worth a cache, and why; ``None`` if it was never in a prompt."""
        return self._accelerator.explain(cube_id)


class KVCacheCallbackHandler(BaseCallbackHandler):
    """The same for the older callbacks: ``CallbackManager([KVCacheCallbackHandler(llm)])``."""

    def __init__(
        self,
        llm: MemOSLLM | LocalChat,
        *,
        policy: AdmissionPolicy | None = None,
        hottest: int = 8,
    ) -> None:
        super().__init__(event_starts_to_ignore=[], event_ends_to_ignore=[])
        self.accelerator = Accelerator(_chat_of(llm), policy=policy, hottest=hottest)

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **_: Any,
    ) -> str:
        """A chat goes to a model."""
        if event_type == CBEventType.LLM and payload and EventPayload.MESSAGES in payload:
            options = payload.get(EventPayload.ADDITIONAL_KWARGS) or {}
            self.accelerator.saw(plain(payload[EventPayload.MESSAGES]), options.get("tools"))
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **_: Any,
    ) -> None:
        """Nothing is done here."""

    def start_trace(self, trace_id: str | None = None) -> None:
        """Nothing is done here."""

    def end_trace(
        self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None
    ) -> None:
        """Nothing is done here."""


def _chat_of(llm: object) -> LocalChat:
    if isinstance(llm, LocalChat):
        return llm
    if isinstance(llm, MemOSLLM):
        return llm.local
    raise InvalidInputError(
        f"llm is {type(llm).__name__}: give a MemOSLLM. Other models' caches live where they run"
    )
