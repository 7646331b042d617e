"""A LlamaIndex chat engine over a local model whose memories are read from their KV cache.

Run it: ``python cookbook/kv_cache_llama_index.py [FOLDER]``. No key, no network; the first run
converts the bundled model, which takes a minute.
"""

from __future__ import annotations

import sys
import tempfile

from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent

from memos_integrations import MemOS
from memos_integrations.llama_index import KVCacheAccelerator, MemOSLLM, MemOSMemory
from memos_integrations.recall import RecallPolicy

FACTS = [
    "I am allergic to walnuts and to hazelnuts, since I was a child.",
    "I live in Oslo now, in a flat with a view of the harbour.",
    "My cat is called Moss, and he eats nothing but salmon.",
    "On Thursdays I swim with Odile, at seven in the morning.",
    "I restore old organs in a workshop behind the cathedral.",
]


class Usage(BaseEventHandler):
    """Prints what each answer took from the cache."""

    def handle(self, event: object, **_: object) -> None:
        """An answer is there."""
        if isinstance(event, LLMChatEndEvent) and event.response is not None:
            raw = event.response.raw
            cached = raw["prompt_tokens_details"]["cached_tokens"]
            print(f"{cached:4} of {raw['prompt_tokens']} prompt tokens from the cache")


def main(folder: str) -> None:
    """The same question in two conversations."""
    with MemOS.open(folder) as memory:
        maya = memory.session("maya")
        maya.add(FACTS)
        llm = MemOSLLM(memory, max_tokens=8)
        accelerator = KVCacheAccelerator(llm).install()
        get_dispatcher().add_event_handler(Usage())
        answers = []
        for _ in range(2):
            recall = RecallPolicy(order="use", leave_out=("question",))
            history = MemOSMemory.from_defaults(maya, position="system", recall=recall)
            engine = SimpleChatEngine.from_defaults(llm=llm, memory=history)
            answers.append(engine.chat("What does my cat eat?").response)
            history.forget_conversation()
        print("same output:", "yes" if answers[0] == answers[1] else "no")
        report = accelerator.report()
        print(f"hit rate {report['hit_rate']:.0%}, {report['cached_tokens']} tokens saved")
        accelerator.uninstall()
        llm.local.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1] if len(sys.argv) > 1 else scratch)
