"""A local model reads a user's memories: the second time from its KV cache, with the same words.

Run it: ``python cookbook/kv_cache_langchain.py [FOLDER]``. No key, no network; the first run
converts the bundled model, which takes a minute.
"""

from __future__ import annotations

import sys
import tempfile

from langchain.agents import create_agent

from memos_integrations import MemOS
from memos_integrations.langchain import ChatMemOS, KVCacheAccelerator, MemOSMiddleware

FACTS = [
    "I am allergic to walnuts and to hazelnuts, since I was a child.",
    "I live in Oslo now, in a flat with a view of the harbour.",
    "My cat is called Moss, and he eats nothing but salmon.",
    "On Thursdays I swim with Odile, at seven in the morning.",
    "I restore old organs in a workshop behind the cathedral.",
    "My sister Ines studies the weather in Porto.",
]


def main(folder: str) -> None:
    """Ask twice, correct a memory, ask again."""
    with MemOS.open(folder) as memory:
        maya = memory.session("maya")
        cubes = maya.add(FACTS)
        model = ChatMemOS(memory, max_tokens=8)
        watcher = KVCacheAccelerator(model)
        agent = create_agent(
            model,
            middleware=[
                MemOSMiddleware(maya, layout="stable_prefix", order="use", record="nothing")
            ],
        )

        def ask(question: str) -> tuple[str, int, float]:
            turn = {"messages": [("user", question)]}
            said = agent.invoke(turn, config={"callbacks": [watcher]})["messages"][-1]
            read = said.usage_metadata["input_token_details"]["cache_read"]
            return said.text, read, said.response_metadata["first_token_seconds"]

        question = "What does my cat eat, and where do I live?"
        cold, none, slow = ask(question)
        warm, read, fast = ask(question)
        print(f"first:  {none:4} tokens from the cache, first token after {slow * 1e3:4.0f} ms")
        print(f"second: {read:4} tokens from the cache, first token after {fast * 1e3:4.0f} ms")
        print("same output:", "yes" if cold == warm else "no")

        maya.update(cubes[2].id, "My cat is called Moss, and now he eats trout, too.")
        left = {source.cube_id for source in memory.pieces.sources()}
        print("cached pieces with the old words:", int(cubes[2].id in left))
        watcher.accelerator.flush()
        _, read, _ = ask(question)
        print("computed ahead after the correction:", "yes" if read > 0 else "no")
        print(watcher.explain(cubes[2].id).reason)
        watcher.close()
        model.local.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1] if len(sys.argv) > 1 else scratch)
