"""Pipelines: several verbs as one, all or nothing, seen by nobody before the end."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Event, Thread
from typing import Any

import networkx as nx
import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.cube import State
from memos_integrations.errors import (
    AccessDeniedError,
    CubeNotFoundError,
    EmbeddingError,
    IllegalTransitionError,
    InvalidInputError,
    MemOSError,
    PipelineConflictError,
    PipelineError,
    RateLimitError,
    ReadOnlyMomentError,
    VersionConflictError,
)
from memos_integrations.interface.pipeline import Pipeline
from memos_integrations.interface.pipelining.steps import Step
from memos_integrations.operation.rate import RateLimit
from memos_integrations.testing import CountingIds, FakeClock, WordEmbedder
from tests.conftest import Opener

NOTES = ["the red boat leaks", "the red boat sails", "a piano"]


def joined(notes: Any) -> str:
    """What a language model would say."""
    return "digest: " + "; ".join(sorted(hit.cube.text for hit in notes))


DIGEST = (
    Pipeline("weekly digest", inputs={"topic": "red boat"})
    .search("$topic", name="found", limit=2)
    .augment(joined, name="words", notes="$found")
    .merge("$found", text="$words", name="digest")
    .append("$digest", "the end", name="signed")
    .search("digest", name="again", limit=1)
)


def state(session: MemorySession) -> list[tuple[str, int, State, str]]:
    return [(cube.id, cube.version, cube.state, cube.text) for cube in session.list()]


def test_steps_see_what_earlier_ones_wrote_and_it_is_one_activity(alice: MemorySession) -> None:
    added = alice.add(NOTES)
    heard: list[set[str]] = []
    alice._vault.watch(lambda ids: heard.append(set(ids)))
    run = alice.run(DIGEST)
    text = "digest: the red boat leaks; the red boat sails\nthe end"
    assert run["signed"].text == run["again"][0].cube.text == text
    assert alice.get(run["digest"].id).text == text
    assert alice.get(added[0].id).state is State.MERGED
    entry, first = alice.log()
    assert (entry.verb, entry.id, first.verb) == ("pipeline weekly digest", run.activity_id, "add")
    boats = [(cube.id, None) for cube in added[:2]]
    assert entry.memories == (*sorted(boats), (run["digest"].id, 2))
    assert heard == [{run["digest"].id, added[0].id, added[1].id}]
    graph = alice.lineage(run["digest"].id)
    assert nx.is_directed_acyclic_graph(graph)
    assert [n for n in graph if n.startswith("activity")][-1] == f"activity:{run.activity_id}"
    used = set(graph.successors(f"activity:{run.activity_id}"))
    assert used == {f"{added[0].id}@1", f"{added[1].id}@1", "agent:alice"}
    assert {note.principal for note in alice.life(added[0].id)} == {"alice"}
    assert alice.get(added[0].id).header.behaviour.uses == 1


def test_what_each_step_read_and_wrote(alice: MemorySession) -> None:
    boats = [(cube.id, 1) for cube in alice.add(NOTES)[:2]]
    run = alice.run(DIGEST)
    made = run["digest"].id
    by_name = {step.name: step for step in run.steps}
    assert sorted(by_name["found"].read) == sorted(by_name["words"].read) == sorted(boats)
    assert by_name["found"].wrote == by_name["words"].wrote == ()
    assert by_name["digest"].wrote[0] == (made, 1)
    assert {one for one, _ in by_name["digest"].wrote} == {made, *(one for one, _ in boats)}
    assert by_name["signed"].wrote == ((made, 2),)
    assert by_name["again"].read == ((made, 2),)
    assert {step.attempts for step in run.steps} == {1}
    assert all(step.seconds >= 0 for step in run.steps)
    with pytest.raises(InvalidInputError, match="no step 'nothing'"):
        run["nothing"]


def test_a_dry_run_tells_the_same_and_writes_nothing(alice: MemorySession) -> None:
    alice.add(NOTES)
    before, log = state(alice), alice.log()
    heard: list[object] = []
    alice._vault.watch(heard.append)
    planned = alice.run(DIGEST, dry_run=True)
    assert (planned.dry_run, planned.activity_id) == (True, None)
    assert (state(alice), alice.log(), heard) == (before, log, [])
    assert [cube.header.behaviour.uses for cube in alice.list()] == [0, 0, 0]
    done = alice.run(DIGEST)
    assert done["signed"].text == planned["signed"].text
    assert [len(step.wrote) for step in done.steps] == [len(step.wrote) for step in planned.steps]


STEPS: dict[str, Callable[[Pipeline], Pipeline]] = {
    "illegal": lambda p: p.unfreeze("$note"),
    "missing": lambda p: p.delete("00000000-0000-7000-8000-00000000ffff"),
    "two for one": lambda p: p.list(name="all").append("$all", "x"),
    "bad text": lambda p: p.add(""),
    "no id": lambda p: p.augment(lambda: 7, name="seven").archive("$seven"),
    "old version": lambda p: p.update("$note", text="x", expected_version=7),
    "raises": lambda p: p.augment(lambda: 1 / 0, name="divide"),
}
CAUSES: dict[str, type[Exception]] = {
    "illegal": IllegalTransitionError,
    "missing": CubeNotFoundError,
    "two for one": InvalidInputError,
    "bad text": InvalidInputError,
    "no id": InvalidInputError,
    "old version": VersionConflictError,
    "raises": ZeroDivisionError,
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_that_fails_takes_everything_with_it(kind: str, alice: MemorySession) -> None:
    alice.add(NOTES)
    before, log = state(alice), alice.log()
    begun = Pipeline("doomed").add("a note", name="note").archive("$note", name="away")
    doomed = STEPS[kind](begun.restore("$away", name="back"))
    with pytest.raises(PipelineError, match="of the pipeline 'doomed' failed") as caught:
        alice.run(doomed)
    assert (caught.value.pipeline, caught.value.step) == ("doomed", doomed.steps[-1].name)
    assert isinstance(caught.value.__cause__, CAUSES[kind])
    assert (state(alice), alice.log()) == (before, log)
    assert "a note" not in [hit.cube.text for hit in alice.search("note")]


def test_readers_see_nothing_before_the_end_and_writers_need_not_wait(
    alice: MemorySession,
) -> None:
    alice.add(NOTES)
    before = state(alice)
    seen: list[object] = []

    def slow(note: Any) -> str:
        seen.append(state(alice) == before)
        seen.append(note[0].text)
        alice.add("somebody else writes while a model thinks")  # would wait for ever on a lock
        return "thought"

    run = alice.run(
        Pipeline("think")
        .add("a note", name="note")
        .augment(slow, name="thought", note="$note")
        .append("$note", "$thought", name="more")
    )
    assert seen == [True, "a note"]
    assert alice.get(run["more"].id).text == "a note\nthought"
    assert alice.count() == 5


def test_what_changes_meanwhile_is_thought_about_again(alice: MemorySession) -> None:
    note = alice.add("version one")[0]
    given: list[str] = []

    def think(note: Any) -> str:
        given.append(note.text)
        if len(given) == 1:
            alice.update(note.id, "version two")
        return f"about {note.text}"

    run = alice.run(
        Pipeline("think")
        .get(note.id, name="note")
        .augment(think, name="thought", note="$note")
        .update("$note", text="$thought", name="after")
    )
    assert given == ["version one", "version two"]
    assert (run["after"].text, run["after"].version) == ("about version two", 3)
    assert next(one.attempts for one in run.steps if one.name == "thought") == 2


def test_what_never_stands_still_is_a_typed_error(alice: MemorySession) -> None:
    note = alice.add("version one")[0]

    def restless(note: Any) -> str:
        return alice.append(note.id, "and on").text

    pipeline = (
        Pipeline("think")
        .get(note.id, name="note")
        .augment(restless, name="thought", note="$note")
        .update("$note", text="$thought", name="after")
    )
    with pytest.raises(PipelineConflictError, match="changed 8 times"):
        alice.run(pipeline)
    assert alice.get(note.id).version == 9
    assert {entry.verb for entry in alice.log()} == {"add", "update"}


def test_a_use_elsewhere_is_no_change(alice: MemorySession, clock: FakeClock) -> None:
    note = alice.add("a boat")[0]
    calls: list[object] = []

    def think(note: Any) -> str:
        calls.append(note)
        alice.search("boat")
        clock.advance(days=3)
        return "thought"

    pipeline = Pipeline("think").get(note.id, name="note").augment(think, name="t", note="$note")
    alice.search("boat")
    alice.run(pipeline.append("$note", "$t", name="after"))
    assert len(calls) == 1


def test_two_runs_over_the_same_memories_lose_nothing(alice: MemorySession) -> None:
    note = alice.add("zero")[0]
    both = Barrier(2)
    failures: list[BaseException] = []

    def worker(name: str) -> None:
        first = [True]

        def think(note: Any) -> str:
            if first.pop() if first else False:
                both.wait(20)  # both have read the same version
            return f"{note.text} {name}"

        pipeline = (
            Pipeline(name)
            .get(note.id, name="note")
            .augment(think, name="thought", note="$note")
            .update("$note", text="$thought", name="after")
        )
        try:
            alice.run(pipeline)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=worker, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert alice.get(note.id).version == 3
    assert sorted(alice.get(note.id).text.split()) == ["one", "two", "zero"]


def test_of_two_runs_that_archive_the_same_memory_one_is_told(alice: MemorySession) -> None:
    note = alice.add("once")[0]
    other_is_done = Event()

    def wait() -> bool:
        return other_is_done.wait(20)

    late = Pipeline("late").augment(wait, name="waited").archive(note.id, after=["waited"])
    caught: list[BaseException] = []

    def run() -> None:
        try:
            alice.run(late)
        except PipelineError as error:
            caught.append(error)

    thread = Thread(target=run)
    thread.start()
    alice.run(Pipeline("early").archive(note.id))
    other_is_done.set()
    thread.join(60)
    assert isinstance(caught[0].__cause__, IllegalTransitionError)
    assert [entry.verb for entry in alice.log()] == ["pipeline early", "add"]


# Retries ----------------------------------------------------------------------------------------


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [times]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "at last"

    return call


def test_a_function_is_tried_again(alice: MemorySession) -> None:
    once = failing(2, TimeoutError("the model sleeps"))
    run = alice.run(Pipeline("p").augment(once, name="ask", retries=2).add("$ask"))
    assert run["add"][0].text == "at last"
    assert [step.attempts for step in run.steps] == [3, 1]
    with pytest.raises(PipelineError, match=r"TimeoutError: no \(tried 2 times\)"):
        alice.run(Pipeline("p").augment(failing(3, TimeoutError("no")), name="ask", retries=1))


def test_embedding_is_tried_again(open_store: Opener) -> None:
    class Moody(WordEmbedder):
        moods = 0

        def embed_documents(self, texts: Any) -> Any:
            self.moods += 1
            if self.moods % 2:
                raise ConnectionError("not today")
            return super().embed_documents(texts)

    session = open_store(embedder=Moody()).session("ann")
    run = session.run(Pipeline("p").add("a note", retries=1))
    assert run.steps[0].attempts == 2
    with pytest.raises(PipelineError) as caught:
        session.run(Pipeline("p").add("another"))
    assert isinstance(caught.value.__cause__, EmbeddingError)
    assert session.count() == 1


# Who may, and when ------------------------------------------------------------------------------


def test_one_denied_step_rolls_the_run_back(memory: MemOS) -> None:
    memory.govern("root", homes=[("acme", "{principal}")])
    alice, bob = (memory.session(who, namespace=("acme", "alice")) for who in ("alice", "bob"))
    mine = alice.add("a parrot", tags=["pets"])[0]
    secret = alice.add("a secret parrot")[0]
    alice.grant("bob", ["read", "write"], tag="pets")
    reads = bob.run(Pipeline("look").search("parrot").list().count())
    assert [hit.cube.id for hit in reads["search"]] == [mine.id]
    assert ([cube.id for cube in reads["list"]], reads["count"]) == ([mine.id], 1)
    tries = Pipeline("try").append(mine.id, "pecks", name="fine")
    with pytest.raises(PipelineError) as caught:
        bob.run(tries.add("not tagged", name="not_fine").count())
    assert isinstance(caught.value.__cause__, AccessDeniedError)
    assert caught.value.step == "not_fine"
    with pytest.raises(PipelineError) as caught:
        bob.run(tries.archive(secret.id, name="unseen"))
    assert isinstance(caught.value.__cause__, CubeNotFoundError)
    assert [cube.version for cube in alice.list()] == [1, 1]
    bob.run(tries.add("tagged", tags=["pets"]))
    assert alice.get(mine.id).text == "a parrot\npecks"
    assert alice.log(limit=1)[0].principal == "bob"


def test_a_grant_that_ends_while_a_function_works_is_over(memory: MemOS) -> None:
    memory.govern("root", homes=[("acme", "{principal}")])
    alice, bob = (memory.session(who, namespace=("acme", "alice")) for who in ("alice", "bob"))
    grant = alice.grant("bob", ["read", "write"])
    late = Pipeline("late").augment(lambda: alice.revoke(grant), name="revoked")
    with pytest.raises(PipelineError) as caught:
        bob.run(late.add("too late", after=["revoked"]))
    assert isinstance(caught.value.__cause__, AccessDeniedError)
    assert alice.count() == 0


def test_the_past_is_read_and_not_written(alice: MemorySession, clock: FakeClock) -> None:
    note = alice.add("a red boat")[0]
    clock.advance(days=1)
    then = alice.snapshot("spring")
    clock.advance(days=1)
    alice.update(note.id, "a blue boat")
    look = (
        Pipeline("look")
        .search("boat", name="found")
        .augment(lambda notes: notes[0].cube.text, name="said", notes="$found")
    )
    assert alice.as_of(then).run(look)["said"] == "a red boat"
    assert alice.run(look)["said"] == "a blue boat"
    assert alice.as_of(then).run(look).activity_id is None
    with pytest.raises(ReadOnlyMomentError):
        alice.as_of(then).run(look.append("$found", "x"))


def test_the_past_of_a_run_is_before_it_or_after_it(alice: MemorySession, clock: FakeClock) -> None:
    alice.add(NOTES)
    before, texts = alice.snapshot("before"), [cube.text for cube in alice.list()]
    clock.advance(days=1)
    run = alice.run(DIGEST.update("$signed", text="last words", name="last").delete("$found"))
    after = [(cube.text, cube.version) for cube in alice.list()]
    clock.advance(days=1)
    assert run["last"].version == 3
    alice.update(run["last"].id, "later words")
    assert [cube.text for cube in alice.as_of(before).list()] == texts
    then = alice.as_of(clock.now() - (clock.now() - run["last"].created_at) / 2)
    assert [(cube.text, cube.version) for cube in then.list()] == after
    assert then.search("last words", limit=1)[0].cube.text == "last words"
    found = [hit.cube.text for hit in then.search("digest: the end")]  # what it said in between
    assert sorted(found) == ["a piano", "last words"]
    assert [len(alice.history(run["last"].id)), len(then.history(run["last"].id))] == [4, 3]


def test_made_and_deleted_in_one_run(alice: MemorySession) -> None:
    pipeline = Pipeline("in vain").add("a note", name="note").append("$note", "x", name="more")
    run = alice.run(pipeline.delete("$note"))
    assert alice.count() == 0
    assert alice.search("note") == []
    graph = alice.lineage(run["more"].id)
    assert nx.is_directed_acyclic_graph(graph)
    relations = sorted(data["relation"] for _, _, data in graph.edges(data=True))
    assert relations == ["wasAssociatedWith", "wasGeneratedBy", "wasGeneratedBy", "wasRevisionOf"]
    assert graph.nodes[f"{run['more'].id}@2"]["ended"] == "pipeline in vain"
    assert run.steps[-1].wrote == ((run["more"].id, None),)


# Conditions, order, inputs ----------------------------------------------------------------------


def test_a_condition_skips_a_step_and_what_needs_it(alice: MemorySession) -> None:
    pipeline = (
        Pipeline("maybe", inputs=["topic"])
        .search("$topic", name="found", min_score=0.3)
        .merge("$found", name="digest", when="$found")
        .freeze("$digest")
        .count(after=["freeze"])
    )
    run = alice.run(pipeline, {"topic": "boat"})
    assert [step.skipped for step in run.steps] == [False, True, True, False]
    assert (run["digest"], run["freeze"], run["count"]) == (None, None, 0)
    assert run.activity_id is None
    assert alice.log() == []
    alice.add(NOTES)
    run = alice.run(pipeline, {"topic": "red boat"})
    assert run["freeze"][0].state is State.FROZEN


def test_steps_move_behind_what_they_need_and_else_stay(alice: MemorySession) -> None:
    pipeline = (
        Pipeline("order").append("$note", "x").count(name="first").add("n", name="note").count()
    )
    assert [step.name for step in pipeline.ordered()] == ["first", "note", "append", "count"]
    run = alice.run(pipeline)
    assert (run["first"], run["count"], run["append"].text) == (0, 1, "n\nx")


def test_a_dollar_twice_is_a_dollar(alice: MemorySession) -> None:
    run = alice.run(Pipeline("p", inputs={"a": "in"}).add(["$$a", "$a", "$ 5", "costs $a"]))
    assert [cube.text for cube in run["add"]] == ["$a", "in", "$ 5", "costs $a"]


def test_every_verb(alice: MemorySession) -> None:
    pipeline = (
        Pipeline("all")
        .add(NOTES, name="notes", tags=["t"])
        .list(name="listed", filters={"tags": "t"})
        .augment(lambda notes: notes[0], name="one", notes="$notes")
        .update("$one", text="updated", priority=7)
        .append("$one", "more")
        .history("$one")
        .get("$one", version=2)
        .archive("$notes", reason="all of them")
        .restore("$archive")
        .freeze("$one")
        .unfreeze("$one")
        .delete("$one")
        .count()
    )
    run = alice.run(pipeline)
    assert len(run["listed"]) == 3
    assert [cube.text for cube in run["history"]] == [NOTES[0], "updated", "updated\nmore"]
    assert run["get"].text == "updated"
    assert {cube.state for cube in run["restore"]} == {State.ACTIVATED}
    assert run["count"] == alice.count() == 2


P = Pipeline("bad", inputs=["topic"])
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: Pipeline(""), "pipeline name is empty"),
    (lambda: Pipeline("p", inputs="topic"), "give a list of names"),  # type: ignore[arg-type]
    (lambda: Pipeline("p", inputs=["a b"]), "letters, digits"),  # type: ignore[arg-type]
    (lambda: P.search("x", limits=3), "takes no 'limits'"),
    (lambda: P.step(Step("s", "search")), "needs 'query'"),
    (lambda: P.step(Step("s", "forget", {"memories": "x"})), "no verb 'forget'"),
    (lambda: P.step(Step("s", "count", function=len)), "only augment"),
    (lambda: P.search("x", name="a b"), "step name 'a b'"),
    (lambda: P.search("x", retries=-1), "retries is -1"),
    (lambda: P.augment(7, name="f"), "give a function"),  # type: ignore[arg-type]
    (lambda: P.search("$nobody").ordered(), "needs 'nobody'"),
    (lambda: P.search("x", when="nobody").ordered(), "needs 'nobody'"),
    (lambda: P.search("x", after=["topic"]).ordered(), "needs 'topic'"),
    (lambda: P.search("x").search("y").ordered(), "used twice"),
    (lambda: P.search("x", name="topic").ordered(), "used twice"),
    (lambda: P.ordered(), "has no steps"),
    (lambda: P.archive("$b", name="a").freeze("$a", name="b").ordered(), "wait for each other: "),
    (lambda: P.archive("$a", name="a").ordered(), "wait for each other: a -> a"),
]


@pytest.mark.parametrize(("make", "said"), BAD)
def test_what_no_run_could_do_is_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        make()


def test_inputs_and_functions_must_fit(alice: MemorySession) -> None:
    pipeline = P.augment("think", name="thought", topic="$topic")
    calls: list[tuple[Any, dict[str, Any], str]] = [
        (pipeline, {"inputs": {}}, "'topic' is missing"),
        (pipeline, {"inputs": {"topic": 1, "colour": 2}}, "no input 'colour'"),
        (pipeline, {"inputs": 7}, "give a dict"),
        (pipeline, {"inputs": {"topic": 1}}, "calls 'think'"),
        (pipeline, {"inputs": {"topic": 1}, "functions": {"think": 7}}, "calls 'think'"),
        ("pipeline", {}, "give a Pipeline"),
    ]
    for given, options, said in calls:
        with pytest.raises(InvalidInputError, match=said.replace("{", "\\{")):
            alice.run(given, **{"functions": {}, **options})
    run = alice.run(pipeline, {"topic": 3}, functions={"think": lambda topic: topic + 1})
    assert run["thought"] == 4


async def test_the_async_twin(alice: MemorySession) -> None:
    alice.add(NOTES)
    run = await alice.arun(DIGEST, {"topic": "red boat"}, dry_run=True)
    assert run["digest"].text.startswith("digest: ")
    with pytest.raises(MemOSError):
        await alice.arun(Pipeline("p").archive("nope"))


def test_a_store_that_organises_does_so_after_the_run(open_store: Opener) -> None:
    session = open_store(clock=FakeClock(), ids=CountingIds(), organise=True).session("ann")
    run = session.run(
        Pipeline("p").add("Ann lives in Oslo", name="a").add("Ann lives in Oslo.", name="b")
    )
    assert {link.relation for link in session.links()} == {"duplicate"}
    assert [entry.verb for entry in session.log()][-1] == "pipeline p"
    assert run.rounds == 2


def test_an_index_follows_a_run(indexed: MemOS) -> None:
    session = indexed.session("ann")
    texts = [f"note {number} about w{number}" for number in range(30)]
    session.run(Pipeline("many").add(texts, name="notes").search("w7", limit=1))
    assert indexed.vault.wait_for_index(30)
    assert indexed.vault.audit_index() == ""
    run = session.run(Pipeline("more").add("one more w99").search("w99", limit=1, name="hit"))
    assert run["hit"][0].cube.text == "one more w99"
    assert indexed.vault.wait_for_index(30)
    assert indexed.vault.audit_index() == ""


def test_a_run_is_one_entry_of_the_audit_log_and_a_dry_one_none(alice: MemorySession) -> None:
    alice.add(NOTES)
    before = alice.audit()
    alice.run(DIGEST, dry_run=True)
    with pytest.raises(PipelineError):
        alice.run(Pipeline("broken").add(["kept?"], name="one").get("no-id", name="two"))
    assert alice.audit() == before
    done = alice.run(DIGEST)
    new = [one for one in alice.audit() if one not in before]
    [entry] = [one for one in new if one.principal == "alice"]
    assert entry.verb == "pipeline weekly digest"
    assert entry.fields["activity"] == done.activity_id
    assert done["signed"].id in {id for id, _ in entry.memories}
    assert alice.verify_audit()


def test_a_run_counts_against_the_rate_once_and_a_dry_one_not(open_store: Opener) -> None:
    alice = open_store(clock=FakeClock(), rate=RateLimit(writes=5)).session("alice")
    three = Pipeline("three")
    for text in ("a boat", "a piano", "a plum"):
        three = three.add([text], name=text.split()[1])
    alice.run(three, dry_run=True)
    alice.run(three, dry_run=True)
    assert alice.run(three).rounds > 1
    with pytest.raises(PipelineError) as stopped:
        alice.run(three)
    assert isinstance(stopped.value.__cause__, RateLimitError)
    assert alice.count() == 3
    alice.add(["two", "more"])
    with pytest.raises(RateLimitError):
        alice.add("one too many")
