"""``MemOSLLM``: complete and chat, whole and streamed, now and in asyncio; engines and agents."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, LLMMetadata, MessageRole, ToolCallBlock
from llama_index.core.chat_engine import ContextChatEngine, SimpleChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from memos_integrations import MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.llama_index import (
    MemOSFunctionLLM,
    MemOSLLM,
    MemOSMemory,
    MemOSRetriever,
)
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.mode import Composed
from memos_integrations.memories.block import block
from memos_integrations.testing import WordEmbedder
from tests.integrations.test_langchain_chat_model import CALL, LONG, WITH_TOOLS, tiny
from tests.integrations.tool_writer import TEMPLATE, ToolWriter


@pytest.fixture
def llm() -> MemOSLLM:
    return MemOSLLM(chat=LocalChat(None, tiny()), max_tokens=8)


def user(text: str) -> ChatMessage:
    return ChatMessage(role=MessageRole.USER, content=text)


async def test_every_way_says_the_same(llm: MemOSLLM) -> None:
    chat = [user(LONG)]
    whole = llm.chat(chat).message.content
    assert whole
    assert (await llm.achat(chat)).message.content == whole
    streamed = list(llm.stream_chat(chat))
    apart = [one async for one in await llm.astream_chat(chat)]
    for parts in (streamed, apart):
        assert "".join(one.delta or "" for one in parts) == whole
        assert parts[-1].message.content == whole
    text = llm.complete(LONG).text
    assert text == (await llm.acomplete(LONG)).text
    assert [one.text for one in llm.stream_complete(LONG)][-1] == text
    assert [one.text async for one in await llm.astream_complete(LONG)][-1] == text


def test_usage_is_told(llm: MemOSLLM) -> None:
    first, second = llm.chat([user(LONG)]).raw, llm.chat([user(LONG)]).raw
    assert isinstance(first, dict) and isinstance(second, dict)
    assert first["prompt_tokens_details"] == {"cached_tokens": 0}
    assert second["prompt_tokens_details"]["cached_tokens"] == first["kept_tokens"] > 400
    last = list(llm.stream_chat([user(LONG)]))[-1].raw
    assert last["completion_tokens"] == 8 and last["finish_reason"] == "length"


def test_composed_mode_says_that_it_is_approximate(tmp_path: Path) -> None:
    facts = [f"Maya likes walnuts of kind {i}, on rainy days above all" for i in range(4)]
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        ann = memory.session("ann")
        cubes = ann.add(facts)
        ann.record_uses(cubes, prompt="asked")
        llm = MemOSLLM(memory, tiny(), mode=Composed(trial=1), max_tokens=6)
        ask = [[user(f"{block(shown)}\nWhat?")] for shown in (cubes, cubes[::-1])]
        assert llm.chat(ask[0]).raw["approximate_tokens"] == 0, "the trial is answered exactly"
        raw = llm.chat(ask[1]).raw
        assert 0 < raw["approximate_tokens"] < raw["prompt_tokens_details"]["cached_tokens"]
        assert list(llm.stream_chat(ask[1]))[-1].raw["approximate_tokens"] > 0
        assert llm.complete(f"{block(cubes)}\nWhat?").raw["approximate_tokens"] > 0
        assert llm.local.stats()["composer"]["composed"] == 3
        llm.local.close()
    with pytest.raises(InvalidInputError, match="mode is 'exact', 'composed'"):
        MemOSLLM(model=tiny(), mode="approximate")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="mode and chat are given"):
        MemOSLLM(chat=LocalChat(None, tiny()), mode="composed")


def test_metadata(llm: MemOSLLM) -> None:
    assert llm.metadata == LLMMetadata(
        context_window=8_192, num_output=8, is_chat_model=True, model_name="tiny"
    )
    assert llm.class_name() == "MemOSLLM"


async def test_who_leaves_early_frees_the_cache(llm: MemOSLLM) -> None:
    stream = llm.stream_chat([user(LONG)])
    next(stream)
    stream.close()
    later = await llm.astream_chat([user(LONG)])
    await anext(later)
    await later.aclose()
    for _ in range(100):
        if not any(node.leases for node in llm.local.engine.tree.nodes()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("leases are held")


async def test_the_loop_goes_on_meanwhile(llm: MemOSLLM) -> None:
    answers = await asyncio.gather(*(llm.achat([user(f"{LONG} {i}")]) for i in range(8)))
    alone = [llm.chat([user(f"{LONG} {i}")]).message.content for i in range(8)]
    assert [one.message.content for one in answers] == alone


def test_options_and_their_errors(llm: MemOSLLM) -> None:
    assert llm.chat([user("Hello")], max_tokens=2).raw["completion_tokens"] == 2
    whole = llm.complete("Hello").text
    assert llm.complete("Hello", stop=[whole[3]]).text == whole[: whole.index(whole[3])]
    with pytest.raises(InvalidInputError, match="temperature"):
        llm.chat([user("Hello")], temperature=-1.0)
    with pytest.raises(InvalidInputError, match=r"reads 8,192"):
        llm.complete("word " * 10_000)


def test_observers_see_it(llm: MemOSLLM) -> None:
    seen: list[Any] = []

    class Handler(BaseEventHandler):
        def handle(self, event: Any, **_: Any) -> None:
            seen.append(event)

    handler = Handler()
    get_dispatcher().add_event_handler(handler)
    try:
        llm.chat([user("Hello")])
    finally:
        get_dispatcher().event_handlers.remove(handler)
    assert [type(one) for one in seen if isinstance(one, (LLMChatStartEvent, LLMChatEndEvent))] == [
        LLMChatStartEvent,
        LLMChatEndEvent,
    ]


def test_engines_take_it_and_the_block_is_cached(tmp_path: Path) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        ann = memory.session("ann")
        ann.add([f"Maya likes walnuts of kind {i}, on rainy days above all" for i in range(5)])
        llm = MemOSLLM(memory, chat=LocalChat(memory, tiny()), max_tokens=6)
        said = []
        for _ in range(2):
            history = MemOSMemory.from_defaults(ann)
            engine = SimpleChatEngine.from_defaults(llm=llm, memory=history)
            said.append(engine.chat("what walnuts does Maya like?").response)
            history.forget_conversation()
        assert said[0] == said[1]
        assert llm.local.stats()["hits"] == 1 and llm.local.stats()["cached_tokens"] > 200
        context = ContextChatEngine.from_defaults(
            retriever=MemOSRetriever(ann), llm=llm, memory=MemOSMemory.from_defaults(ann)
        )
        assert "".join(context.stream_chat("walnuts?").response_gen) is not None
        llm.local.close()


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.filterwarnings("ignore:is_running called from within a step")
async def test_an_agent_that_reasons_takes_it(llm: MemOSLLM) -> None:
    """A random model reasons about nothing: the agent ends with its own error, or an answer."""
    agent = ReActAgent(llm=llm, tools=[])
    handler = agent.run("Hello", max_iterations=2)
    try:
        assert (await handler).response is not None
    except Exception as error:
        assert "iterations" in str(error)


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_an_agent_of_functions_refuses_it(llm: MemOSLLM) -> None:
    """It is no function-calling model, and says so; ReActAgent is for such."""
    with pytest.raises(ValueError, match=r"FunctionCallingLLM|function.calling"):
        await FunctionAgent(llm=llm, tools=[_nothing]).run("Hello")


def _nothing() -> None:
    """Does nothing."""


def test_calls_are_blocks(llm: MemOSLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm.local, "stream", lambda *_, **__: iter([CALL[:20], CALL[20:]]))
    blocks = llm.chat([user("Where is the tea?")]).message.blocks
    calls = [one for one in blocks if isinstance(one, ToolCallBlock)]
    assert [(one.tool_name, one.tool_kwargs) for one in calls] == [("look", {"thing": "tea"})]


def test_nothing_opens_a_socket(llm: MemOSLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket is opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert llm.chat([user("Hello")]).message.content


def thing(thing: str) -> str:
    """Where a thing is."""
    return f"{thing} is here"


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.filterwarnings("ignore:is_running called from within a step")
async def test_a_function_agent_calls_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random model calls nothing, so what it writes is scripted; all else is real."""
    chat = LocalChat(None, tiny(WITH_TOOLS))
    prompts: list[str] = []

    def scripted(prompt: Any, *_: Any, usage: Any = None, **__: Any) -> Iterator[str]:
        prompts.append(chat.model.decode(prompt.tokens))
        answer = ["It is here.", CALL.replace("look", "thing")][len(prompts) == 1]
        yield from (answer[i : i + 5] for i in range(0, len(answer), 5))

    monkeypatch.setattr(chat, "stream", scripted)
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        history = MemOSMemory.from_defaults(memory.session("ann"))
        agent = FunctionAgent(llm=MemOSFunctionLLM(chat=chat), tools=[thing])
        run = agent.run("Where is the tea?", memory=history)
        called = [event async for event in run.stream_events() if isinstance(event, ToolCallResult)]
        assert str(await run) == "It is here."
        assert [str(event.tool_output) for event in called] == ["tea is here"]
        roles = [one.role.value for one in history.get_all()]
        assert roles == ["user", "assistant", "tool", "assistant"]
    assert prompts[0].startswith("Tools: thing") and "tea is here" in prompts[1]


def test_calls_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = MemOSFunctionLLM(chat=LocalChat(None, tiny(WITH_TOOLS)), max_tokens=4)
    assert llm.metadata.is_function_calling_model and llm.class_name() == "MemOSFunctionLLM"
    tool = FunctionTool.from_defaults(thing)
    said = llm.chat_with_tools([tool], user_msg="Where?")  # a random model calls nothing
    assert llm.get_tool_calls_from_response(said, error_on_no_tool_call=False) == []
    with pytest.raises(ValueError, match="calls no tool"):
        llm.get_tool_calls_from_response(said)
    monkeypatch.setattr(llm.local, "stream", lambda *_, **__: iter([f"Both.{CALL}{CALL}"]))
    one = llm.chat_with_tools([tool], user_msg="Where?")
    two = llm.chat_with_tools([tool], user_msg="Where?", allow_parallel_tool_calls=True)
    chosen = [llm.get_tool_calls_from_response(answer) for answer in (one, two)]
    assert [len(calls) for calls in chosen] == [1, 2]
    assert chosen[0][0].tool_kwargs == {"thing": "tea"} and one.message.content == "Both."
    with pytest.raises(InvalidInputError, match="knows no tools"):
        MemOSFunctionLLM(chat=LocalChat(None, tiny()))


class Person(BaseModel):
    """Who it is."""

    name: str
    age: int


async def test_a_call_that_is_required_is_begun() -> None:
    begun = '<tool_call>\n{"name": "thing", "arguments":'
    llm = MemOSFunctionLLM(chat=LocalChat(None, tiny(TEMPLATE)), max_tokens=4)
    asked: dict[str, Any] = {"tools": [FunctionTool.from_defaults(thing)], "user_msg": "Where?"}
    free, forced = llm.chat_with_tools(**asked), llm.chat_with_tools(**asked, tool_required=True)
    assert begun not in str(free.message.content)
    assert str(forced.message.content).startswith(begun)
    later = await llm.achat_with_tools(**asked, tool_required=True)
    streamed = list(llm.stream_chat_with_tools(**asked, tool_required=True))
    assert later.message.content == streamed[-1].message.content == forced.message.content


def test_it_answers_in_a_form() -> None:
    llm = MemOSFunctionLLM(chat=LocalChat(None, engine=ToolWriter(tiny(TEMPLATE))))
    said = llm.as_structured_llm(Person).complete("Say Person: 'Maya' is 41.")
    assert said.raw == Person(name="Maya", age=41)
