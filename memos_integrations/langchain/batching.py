"""The chats of one batch, answered together: the first one that is asked for answers all.

LangChain runs each chat of a batch by itself, with callbacks, tags and a run of its own, and so it
should. Only the model's own work is joined: whoever comes first does it, the others wait and take.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from memos_integrations.errors import MemOSError
from memos_integrations.local_chat import Answer, LocalChat
from memos_integrations.memories.activation.segments import Prompt

if TYPE_CHECKING:
    from memos_integrations.memories.activation.sampling import Sampling

log = logging.getLogger(__name__)


class Together:
    """Answers to the chats of a batch; each may be taken once. Thread-safe."""

    def __init__(
        self,
        chat: LocalChat,
        prompts: Callable[[], Sequence[Prompt]],
        sampling: Sampling,
        *,
        stop: Sequence[str],
        begun: str = "",
        max_batch: int | None,
    ) -> None:
        """``prompts`` is asked when the first answer is."""
        self._chat, self._prompts, self._sampling = chat, prompts, sampling
        self._stop, self._begun, self._most = list(stop), begun, max_batch
        self._lock = threading.Lock()
        self._answers: dict[Prompt, list[Answer]] | None = None

    def take(
        self, chat: LocalChat, prompt: Prompt, sampling: Sampling, stop: Sequence[str], begun: str
    ) -> Answer | None:
        """An answer to this prompt; ``None`` if it is none of the batch."""
        mine = (self._chat, self._sampling, self._stop, self._begun)
        if (chat, sampling, list(stop), begun) != mine:
            return None
        with self._lock:
            if self._answers is None:
                self._answers = {}  # if this fails, each of the others answers for itself
                self._answers = self._all()
            found = self._answers.get(prompt)
            return found.pop(0) if found else None

    def _all(self) -> dict[Prompt, list[Answer]]:
        found: dict[Prompt, list[Answer]] = defaultdict(list)
        try:
            prompts = self._prompts()
            answers = self._chat.answer_batch(
                prompts,
                self._sampling,
                stop=self._stop,
                begun=self._begun,
                max_batch=self._most,
            )
        except MemOSError as error:  # one of them is at fault: it says so itself when it is asked
            log.info("a batch is answered one by one: %s", error)
            return found
        for prompt, answer in zip(prompts, answers, strict=True):
            found[prompt].append(answer)
        return found


_now: ContextVar[Together | None] = ContextVar("memos_batch", default=None)
"""The batch that is being run; threads and tasks that LangChain starts for it see it, too."""


@contextmanager
def together(batch: Together | None) -> Iterator[None]:
    """What runs within is part of this batch."""
    if batch is None:
        yield
        return
    before = _now.set(batch)
    try:
        yield
    finally:
        _now.reset(before)


def answered(
    chat: LocalChat, prompt: Prompt, sampling: Any, stop: Sequence[str], begun: str = ""
) -> Answer:
    """The answer to a prompt, decoded together with those of its batch, if it is of one."""
    batch = _now.get()
    found = batch.take(chat, prompt, sampling, stop, begun) if batch is not None else None
    return found if found is not None else chat.answer(prompt, sampling, stop=stop, begun=begun)
