"""Chat histories and the ``BaseMemory`` of chains."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables.history import RunnableWithMessageHistory

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain import MemOSChatMessageHistory, MemOSMemory

EVERY_KIND: list[BaseMessage] = [
    SystemMessage("be kind"),
    HumanMessage([{"type": "text", "text": "look"}, {"type": "image", "url": "http://x/y"}]),
    AIMessage("", tool_calls=[{"name": "f", "args": {"a": [1, None]}, "id": "c1"}], id="ai-1"),
    ToolMessage("42", tool_call_id="c1", artifact={"rows": [1, 2]}, status="error"),
    FunctionMessage("old", name="f"),
    AIMessage(
        "done",
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"model": "m"},
        name="Bot",
    ),
    HumanMessage("  spaces and\nlines é 🙂  ", name="Ann", additional_kwargs={"x": True}),
]


def test_messages_come_back_equal(memory: MemOS, open_store: Callable[..., MemOS]) -> None:
    history = MemOSChatMessageHistory(memory.session("alice"), "c")
    assert isinstance(history, BaseChatMessageHistory)
    history.add_messages(EVERY_KIND)
    history.add_message(HumanMessage("one more"))
    memory.close()
    kept = MemOSChatMessageHistory(open_store().session("alice"), "c").messages
    assert kept == [*EVERY_KIND, HumanMessage("one more")]


async def test_asynchronously(alice: MemorySession) -> None:
    history = MemOSChatMessageHistory(alice, "c")
    await history.aadd_messages(EVERY_KIND)
    assert await history.aget_messages() == history.messages == EVERY_KIND
    await history.aclear()
    assert history.messages == []


def test_conversations_apart_and_one_memory(alice: MemorySession) -> None:
    one, other = (MemOSChatMessageHistory(alice, name) for name in ("one", "other"))
    one.add_user_message("I live in Utrecht")
    other.add_user_message("I swim on Thursdays")
    assert [m.content for m in one.messages] == ["I live in Utrecht"]
    assert alice.search("Utrecht", limit=1)[0].cube.header.descriptive.origin == "user"
    one.clear()
    assert (one.messages, len(other.messages)) == ([], 1)
    assert [hit.cube.text for hit in alice.search("Utrecht")] == ["I swim on Thursdays"]


def test_many_at_once(alice: MemorySession) -> None:
    def write(name: int) -> None:
        history = MemOSChatMessageHistory(alice, "c")
        for turn in range(6):
            history.add_messages([HumanMessage(f"{name}-{turn}"), AIMessage(f"re {name}-{turn}")])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    said = [str(m.content) for m in MemOSChatMessageHistory(alice, "c").messages]
    assert len(said) == len(set(said)) == 72
    for name in range(6):
        mine = [text for text in said if text.removeprefix("re ").startswith(f"{name}-")]
        assert mine == [t for turn in range(6) for t in (f"{name}-{turn}", f"re {name}-{turn}")]


@pytest.mark.parametrize("conversation_id", ["", " ", "x" * 300, "\x00"])
def test_ids_that_cannot_be_kept(alice: MemorySession, conversation_id: str) -> None:
    with pytest.raises(InvalidInputError, match="conversation_id"):
        MemOSChatMessageHistory(alice, conversation_id)


def test_what_is_no_json_is_refused_whole(alice: MemorySession) -> None:
    history = MemOSChatMessageHistory(alice, "c")
    odd = HumanMessage("x", additional_kwargs={"raw": b"\x00"})
    with pytest.raises(InvalidInputError):
        history.add_messages([HumanMessage("before"), odd])
    assert history.messages == []


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
def test_in_a_runnable(alice: MemorySession) -> None:
    prompt = ChatPromptTemplate.from_messages(
        [MessagesPlaceholder("history"), ("human", "{input}")]
    )
    chain = RunnableWithMessageHistory(
        prompt | FakeListChatModel(responses=["one", "two"]),
        lambda conversation: MemOSChatMessageHistory(alice, conversation),
        input_messages_key="input",
        history_messages_key="history",
    )
    for text in ("first", "second"):
        chain.invoke({"input": text}, {"configurable": {"session_id": "c"}})
    kept = MemOSChatMessageHistory(alice, "c").messages
    assert [m.content for m in kept] == ["first", "one", "second", "two"]


# BaseMemory --------------------------------------------------------------------------------------


def test_facts_of_all_conversations_and_history_of_this_one(alice: MemorySession) -> None:
    alice.add("Alice lives in Utrecht")
    memory = MemOSMemory(session=alice, conversation_id="c")
    memory.save_context({"input": "plums are blue"}, {"output": "so they are"})
    assert memory.memory_variables == ["memories", "history"]
    variables = memory.load_memory_variables({"input": "Utrecht and plums?"})
    assert "Alice lives in Utrecht" in variables["memories"]
    assert "plums" not in variables["memories"], "it stands in the history"
    assert variables["history"] == "Human: plums are blue\nAI: so they are"
    listed = MemOSMemory(session=alice, conversation_id="c", return_messages=True)
    assert [m.type for m in listed.load_memory_variables({})["history"]] == ["human", "ai"]
    assert listed.load_memory_variables({})["memories"] == ""
    memory.clear()
    assert memory.load_memory_variables({"input": "Utrecht?"})["history"] == ""
    assert "Utrecht" in memory.load_memory_variables({"input": "Utrecht?"})["memories"]


def test_which_of_several_inputs(alice: MemorySession) -> None:
    memory = MemOSMemory(session=alice)
    with pytest.raises(InvalidInputError, match="input_key="):
        memory.save_context({"question": "a", "language": "b"}, {"output": "c"})
    keyed = MemOSMemory(session=alice, input_key="question", output_key="answer")
    keyed.save_context({"question": "a", "language": "b"}, {"answer": "c", "sources": "d"})
    assert keyed.load_memory_variables({"question": "x"})["history"] == "Human: a\nAI: c"
    with pytest.raises(InvalidInputError, match="input_key is 'question'"):
        keyed.load_memory_variables({"language": "b"})


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
async def test_in_a_chain(alice: MemorySession) -> None:
    from langchain_classic.chains import LLMChain

    alice.add("Alice eats no walnuts")
    prompt = PromptTemplate.from_template("{memories}\n{history}\nHuman: {input}\nAI:")
    llm = FakeListLLM(responses=["No walnuts then.", "As I said."])
    chain = LLMChain(llm=llm, prompt=prompt, memory=MemOSMemory(session=alice))
    assert chain.invoke({"input": "walnuts?"})["text"] == "No walnuts then."
    result = await chain.ainvoke({"input": "and now?"})
    assert "Alice eats no walnuts" in result["memories"] or "walnuts" in result["history"]
    assert "Human: walnuts?\nAI: No walnuts then." in result["history"]


def test_uses_are_reported(alice: MemorySession) -> None:
    cube = alice.add("Alice lives in Utrecht")[0]
    MemOSMemory(session=alice, conversation_id="c").load_memory_variables({"input": "Utrecht"})
    assert [use.prompt for use in alice.uses(cube.id)] == ["c:0"]
