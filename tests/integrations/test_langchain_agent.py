"""Agents in real use: three days over two processes, and fifty users at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSMiddleware, memory_tools

sys.path.insert(0, str(Path(__file__).parent))
from scripted_model import ScriptedModel, words

WORKER = Path(__file__).with_name("three_days_worker.py")


def lived(folder: Path, *days: int) -> list[dict[str, Any]]:
    command = [sys.executable, str(WORKER), str(folder), *map(str, days)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_three_days_over_two_processes(tmp_path: Path) -> None:
    first = lived(tmp_path, 1)
    assert [turn["answer"] for turn in first] == ["Noted.", "Noted."]

    _, _, where, sister = lived(tmp_path, 2, 3)
    # Said on day one, in another process and another thread.
    assert "walnuts" in where["prompt"]
    # The corrected fact, and not the old one.
    assert "I live in Bergen" in where["prompt"]
    assert "Oslo" not in where["prompt"]
    assert where["answer"] == "I remember: Bergen, walnuts"
    # Forgotten on request.
    assert "Ida" not in sister["prompt"]
    assert "Ida" not in sister["answer"]

    with MemOS.open(tmp_path / "memory") as memory:
        maya = memory.session("maya")
        corrected = next(cube for cube in maya.list() if cube.text.startswith("I live in"))
        assert [cube.text[:14] for cube in maya.history(corrected.id)] == [
            "I live in Oslo",
            "I live in Berg",
        ]
        assert {use.prompt.partition(":")[0] for use in maya.uses(corrected.id)} >= {"day-3"}
        said = {(c.header.descriptive.origin, c.text) for c in maya.list()}
        assert ("user", "What is my sister called?") in said
        assert not any("<memories>" in text for _, text in said)


USERS = 50


async def test_fifty_users_at_once(open_store: Callable[..., MemOS]) -> None:
    """A canary is planted in each: nobody else's prompt may ever hold it."""
    memory = open_store()

    def line(messages: Sequence[BaseMessage]) -> AIMessage:
        return AIMessage("understood, thank you")

    model = ScriptedModel(line=line)
    agent = create_agent(
        model,
        memory_tools(memory, namespace=("acme", "{user_id}")),
        middleware=[MemOSMiddleware(memory, namespace=("acme", "{user_id}"))],
        checkpointer=InMemorySaver(),
    )

    async def say(user: int, thread: str, text: str) -> str:
        spoken = ""
        async for chunk, _ in agent.astream(
            {"messages": [HumanMessage(text)]},
            {"configurable": {"thread_id": f"{user}-{thread}"}},
            context={"user_id": f"user-{user}"},
            stream_mode="messages",
        ):
            spoken += str(chunk.text)
        return spoken

    async def conversation(user: int) -> None:
        await say(user, "one", f"my secret word is canary{user}x, remember the secret word")
        await say(user, "one", f"turn two of {user}: the weather is fine")
        answer = await say(user, "two", "what is my secret word?")
        assert answer.strip() == "understood, thank you"

    await asyncio.gather(*(conversation(user) for user in range(USERS)))

    assert len(model.prompts) == 3 * USERS
    asked = 0
    for prompt in map(words, model.prompts):
        owners = {user for user in range(USERS) if f"canary{user}x" in prompt}
        assert len(owners) <= 1
        if "what is my secret word?" in prompt:
            asked += 1
            assert len(owners) == 1, "the user's own word is recalled in a new thread"
    assert asked == USERS
    for user in range(USERS):
        kept = memory.session(f"user-{user}", namespace=("acme", f"user-{user}")).list()
        assert sorted(cube.header.descriptive.origin for cube in kept) == [
            *["assistant"] * 3,
            *["user"] * 3,
        ]
        assert sum(f"canary{user}x" in cube.text for cube in kept) == 1
        assert {cube.header.governance.owner for cube in kept} == {f"user-{user}"}
