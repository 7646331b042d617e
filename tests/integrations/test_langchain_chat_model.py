"""``ChatMemOS``: LangChain's own tests for chat models, usage, streaming, tools, and the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from memos_integrations import MemOS
from memos_integrations.errors import ChatTemplateError, InvalidInputError, MemOSError
from memos_integrations.langchain import ChatMemOS, MemOSMiddleware
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.mode import Composed
from memos_integrations.models.causal import CausalModel
from memos_integrations.testing import WordEmbedder
from memos_integrations.tool_calls import parse_tool_calls

WITH_TOOLS = (
    "{% if tools %}Tools: {% for tool in tools %}{{ tool['function']['name'] }} {% endfor %}\n"
    "{% endif %}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}"
    "{% for call in m['tool_calls'] or [] %}<call>{{ call['function']['name'] }}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)

LONG = "Maya likes walnuts, and swims on Thursdays, at seven in the morning. " * 12


@cache
def tiny(template: str | None = None) -> CausalModel:
    """A random Llama of three layers, and a tokenizer trained here."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    raw.train_from_iterator(["User: Assistant: System: what does Maya like?"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8_192,
        initializer_range=0.3,
    )
    model = AutoModelForCausalLM.from_config(config)
    return CausalModel(model, tokenizer, name="tiny", chat_template=template)


class TestUnit(ChatModelUnitTests):
    """LangChain's unit tests, none left out."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMemOS

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": tiny()}

    @property
    def has_tool_calling(self) -> bool:
        return False  # a random model calls nothing

    @property
    def has_structured_output(self) -> bool:
        return False


class CachedUsage:
    """Usage that says what was read from the cache and what was kept, in LangChain's tests."""

    def cached(self) -> ChatMemOS:
        """A model whose cache is empty."""
        return ChatMemOS(chat=LocalChat(None, tiny()), max_tokens=8)

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:
        both = ["cache_read_input", "cache_creation_input"]
        return {"invoke": both, "stream": both}

    def invoke_with_cache_creation_input(self, *, stream: bool = False) -> AIMessage:
        said = _said(self.cached(), stream)
        assert _details(said)["cache_creation"] > 400 and _details(said)["cache_read"] == 0
        return said

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = self.cached()
        created = _details(_said(model, stream))["cache_creation"]
        said = _said(model, stream)
        assert _details(said) == {"cache_read": created, "cache_creation": 0}
        return said


def _said(model: ChatMemOS, stream: bool) -> AIMessage:
    if not stream:
        return model.invoke(LONG)
    chunks = [chunk for chunk in model.stream(LONG) if isinstance(chunk, AIMessageChunk)]
    return sum(chunks[1:], start=chunks[0])


def _details(message: AIMessage) -> Any:
    assert message.usage_metadata is not None
    return message.usage_metadata["input_token_details"]


class TestIntegration(CachedUsage, ChatModelIntegrationTests):
    """LangChain's integration tests, none left out."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMemOS

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": tiny()}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False


# Usage and streaming --------------------------------------------------------------------------


@pytest.fixture
def model() -> ChatMemOS:
    return ChatMemOS(chat=LocalChat(None, tiny()), max_tokens=8)


def test_the_second_time_is_read_from_the_cache(model: ChatMemOS) -> None:
    first, second = model.invoke(LONG), model.invoke(LONG)
    assert first.content == second.content
    assert first.usage_metadata is not None and second.usage_metadata is not None
    created = first.usage_metadata["input_token_details"]["cache_creation"]
    assert created > 400 and first.usage_metadata["input_token_details"]["cache_read"] == 0
    assert second.usage_metadata["input_token_details"] == {
        "cache_read": created,
        "cache_creation": 0,
    }
    assert second.response_metadata["first_token_seconds"] > 0


def test_a_stream_says_the_same_and_counts_once(model: ChatMemOS) -> None:
    def streamed() -> tuple[str, Any]:
        chunks = [chunk for chunk in model.stream(LONG) if isinstance(chunk, AIMessageChunk)]
        counted = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
        assert len(counted) == 1 and chunks[-1].usage_metadata == counted[0]
        return "".join(str(chunk.content) for chunk in chunks), counted[0]["input_token_details"]

    first, cold = streamed()
    assert cold["cache_creation"] > 400 and cold["cache_read"] == 0
    second, warm = streamed()
    assert warm == {"cache_read": cold["cache_creation"], "cache_creation": 0}
    assert first == second == model.invoke(LONG).content


async def test_async_is_the_same(model: ChatMemOS) -> None:
    whole = model.invoke(LONG)
    assert (await model.ainvoke(LONG)).content == whole.content
    assert "".join([str(c.content) async for c in model.astream(LONG)]) == whole.content
    many = await asyncio.gather(*(model.ainvoke(f"{LONG} {i}") for i in range(8)))
    assert [one.content for one in many] == [model.invoke(f"{LONG} {i}").content for i in range(8)]


async def test_who_leaves_early_frees_the_cache(model: ChatMemOS) -> None:
    stream = model.stream(LONG)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    asynchronous = model.astream(LONG)
    await anext(asynchronous)
    await asynchronous.aclose()  # type: ignore[attr-defined]
    for _ in range(100):
        if not any(node.leases for node in model.local.engine.tree.nodes()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("leases are held")


def test_an_answer_ends_before_a_stop_string(model: ChatMemOS) -> None:
    whole = str(model.invoke("Hello").content)
    middle = whole[len(whole) // 2 :][:2]
    cut = model.invoke("Hello", stop=[middle])
    assert cut.content == whole[: whole.index(middle)]
    assert cut.response_metadata["finish_reason"] == "stop"
    streamed = "".join(str(c.content) for c in model.stream("Hello", stop=[middle]))
    assert streamed == cut.content, "no part of it slips out"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"max_tokens": 0}, "max_new_tokens is 0"),
        ({"top_p": 2.0}, "top_p is 2.0"),
        ({"stop": [""]}, "give strings that are not empty"),
    ],
)
def test_options_that_make_no_sense(model: ChatMemOS, options: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        model.invoke("Hello", **options)


def test_a_prompt_that_is_too_long(model: ChatMemOS) -> None:
    with pytest.raises(InvalidInputError, match=r"tokens, tiny reads 8,192"):
        model.invoke("word " * 10_000)


# Tools ----------------------------------------------------------------------------------------


def look(thing: str) -> str:
    """Look for a thing."""
    return f"{thing} is here"


CALL = '<tool_call>\n{"name": "look", "arguments": {"thing": "tea"}}\n</tool_call>'


def test_calls_are_read_from_what_the_model_writes() -> None:
    text, calls = parse_tool_calls(f"I look.\n{CALL}{CALL}")
    assert text == "I look."
    assert [(call.name, call.arguments) for call in calls] == [("look", {"thing": "tea"})] * 2
    assert len({call.id for call in calls}) == 2
    for broken in ("<tool_call>{}</tool_call>", "<tool_call>{'a': 1}</tool_call>", "no call "):
        assert parse_tool_calls(broken) == (broken, [])


def test_an_agent_calls_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = LocalChat(None, tiny(WITH_TOOLS))
    answers = [CALL, "It is here."]
    prompts = []

    def scripted(prompt: Any, *_: Any, usage: Any = None, **__: Any) -> Iterator[str]:
        prompts.append(chat.model.decode(prompt.tokens))
        yield from (answers[len(prompts) - 1][i : i + 5] for i in range(0, 200, 5))

    monkeypatch.setattr(chat, "stream", scripted)
    agent = create_agent(ChatMemOS(chat=chat), [look])
    said = agent.invoke({"messages": [HumanMessage("Where is the tea?")]})["messages"]
    assert [one.type for one in said] == ["human", "ai", "tool", "ai"]
    assert said[1].tool_calls[0]["args"] == {"thing": "tea"} and said[2].content == "tea is here"
    assert prompts[0].startswith("Tools: look") and "<call>look" in prompts[1]
    prompts.clear()
    chunks = list(ChatMemOS(chat=chat).bind_tools([look]).stream("Where is the tea?"))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert total.tool_calls[0]["args"] == {"thing": "tea"} and total.content == ""


def test_a_template_without_tools_refuses_them(model: ChatMemOS) -> None:
    with pytest.raises((InvalidInputError, ChatTemplateError), match="knows no tools"):
        model.bind_tools([look])


# Memories -------------------------------------------------------------------------------------


def test_recalled_memories_are_read_from_the_cache(tmp_path: Path) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        ann, bob = memory.session("ann"), memory.session("bob")
        facts = [
            f"Maya likes walnuts of kind {i}, on rainy days above all others" for i in range(5)
        ]
        cubes = ann.add(facts)
        bob.add(facts)
        chat = LocalChat(memory, tiny())
        model = ChatMemOS(memory, chat=chat, max_tokens=6)
        middleware = MemOSMiddleware(memory, record="nothing")
        agent = create_agent(model, middleware=[middleware])
        bare = create_agent(
            ChatMemOS(chat=LocalChat(None, tiny()), max_tokens=6), middleware=[middleware]
        )

        def ask(who: str, asked: Any = agent) -> tuple[str, int]:
            turn = {"messages": [("user", "what walnuts does Maya like?")]}
            said = asked.invoke(turn, context={"user_id": who})["messages"][-1]
            return said.content, said.usage_metadata["input_token_details"]["cache_read"]

        cold, warm, other = ask("ann"), ask("ann"), ask("bob")
        assert (cold[1], other[1]) == (0, 0) and warm[1] > 200
        assert cold[0] == warm[0] == ask("ann", bare)[0]
        ann.update(cubes[0].id, "Maya likes no walnuts any more, whatever the weather may be")
        after = ask("ann")
        assert after[1] < warm[1]
        assert after[0] == ask("ann", bare)[0]
        chat.close()


def test_composed_mode_says_that_it_is_approximate(tmp_path: Path) -> None:
    facts = [f"Maya likes walnuts of kind {i}, on rainy days above all" for i in range(4)]
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        memory.session("ann").add(facts)
        model = ChatMemOS(memory, tiny(), mode=Composed(trial=1), max_tokens=6)
        agent = create_agent(model, middleware=[MemOSMiddleware(memory, record="nothing")])

        def ask(about: str) -> tuple[int, int]:
            turn = {"messages": [("user", f"what walnuts {about}?")]}
            said = agent.invoke(turn, context={"user_id": "ann"})["messages"][-1]
            read = said.usage_metadata["input_token_details"]["cache_read"]
            return said.response_metadata["approximate_tokens"], read

        assert ask("does Maya like")[0] == 0, "the trial is answered exactly"
        approximate, read = ask("of kind 3 does Maya like")
        assert 0 < approximate < read
        found = model.local.stats()["composer"]
        assert found["composed"] == 1 and found["deviation"]["prompts"] == 1
        model.batch(["what walnuts?", "which?"])
        assert model.local.stats()["composer"]["exact"]["it is asked for in a batch"] == 2
        model.local.close()


def test_modes_do_not_share_the_answers_that_langchain_keeps() -> None:
    chats = {mode: ChatMemOS(model=tiny(), mode=mode) for mode in (None, "exact", "composed")}
    keys = {mode: chat._get_llm_string() for mode, chat in chats.items()}
    assert keys[None] == keys["exact"] != keys["composed"]
    with pytest.raises(InvalidInputError, match="mode is 'exact', 'composed'"):
        ChatMemOS(model=tiny(), mode="approximate")
    with pytest.raises(InvalidInputError, match=r"mode and chat are given"):
        ChatMemOS(chat=LocalChat(None, tiny()), mode="composed")


def test_it_is_described_without_what_is_heavy(model: ChatMemOS) -> None:
    assert model._identifying_params["model"] == "tiny"
    assert "chat" not in model.model_dump() and "memory" not in model.model_dump()
    with pytest.raises(MemOSError, match="give a MemOS, or a session"):
        ChatMemOS("my-memory", model=tiny())  # type: ignore[arg-type]
