"""The scheduler's decisions under random events: budgets, calm, and the same again."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from memos_integrations.operation.scheduling.actions import Action, from_json, to_json
from memos_integrations.operation.scheduling.events import (
    Added,
    Deleted,
    Event,
    Expired,
    Learned,
    Lost,
    Pressure,
    Recalled,
    Ruled,
    Shown,
    Tick,
    Updated,
    Weighed,
)
from memos_integrations.operation.scheduling.planner import Planner, replay
from memos_integrations.operation.scheduling.policies import (
    LFU,
    LRU,
    Composite,
    Heat,
    KeepPolicy,
    Label,
    Semantic,
)
from memos_integrations.operation.scheduling.rules import Budgets, Rules
from memos_integrations.operation.scheduling.tiers import BOUNDED, Form, Tier

RULES = Rules(
    half_life=600.0,
    min_residence=50.0,
    pressure_hold=20.0,
    consolidate_uses=3.0,
    stable_for=100.0,
    archive_after=2_000.0,
    min_uses=1.0,
)
BUDGETS = Budgets(
    plaintext=2_000, activation=3_000, parameter=500, build_ms=200.0, training_ms=900.0
)
IDS = [f"m{n}" for n in range(12)]

ids = st.sampled_from(IDS)
vectors = st.none() | st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.7, 0.7), (0.0, 0.0)])
moments = st.integers(0, 400).map(float)


def forms(most: int, dearest: int) -> st.SearchStrategy[Form]:
    return st.builds(Form, st.integers(0, most), st.integers(0, dearest).map(float))


def described(kind: type[Added] | type[Updated]) -> st.SearchStrategy[Event]:
    return st.builds(
        kind,
        moments,
        ids,
        plaintext=forms(600, 0),
        activation=st.none() | forms(1_500, 150),
        parameter=st.none() | forms(300, 500),
        labels=st.sampled_from([(), ("pinned",), ("hot",)]),
        vector=vectors,
        expires_at=st.none() | st.integers(0, 5_000).map(float),
    )


some = st.lists(ids, min_size=1, max_size=5).map(tuple)
events = st.one_of(
    described(Added),
    described(Updated),
    st.builds(
        Ruled,
        moments,
        ids,
        labels=st.sampled_from([(), ("pinned",)]),
        expires_at=st.none() | st.integers(0, 5_000).map(float),
    ),
    st.builds(Recalled, moments, some, topic=vectors),
    st.builds(Shown, moments, some, topic=vectors),
    st.builds(Shown, moments, some, topic=vectors),
    st.builds(Expired, moments, ids),
    st.builds(Deleted, moments, ids),
    st.builds(Lost, moments, ids, st.sampled_from([Tier.ACTIVATION, Tier.PARAMETER])),
    st.builds(Learned, moments, some, st.integers(0, 400)),
    st.builds(Weighed, moments, some, st.booleans(), st.just("weighed"), forms(400, 500)),
    st.builds(Pressure, moments, st.sampled_from(BOUNDED), st.integers(0, 3_000)),
    st.builds(Tick, moments),
)


def running(steps: list[Event]) -> list[Event]:
    """Each event's time as the seconds since the one before."""
    now, found = 0.0, []
    for event in steps:
        now += event.at
        found.append(replace(event, at=now))
    return found


traces = st.lists(events, max_size=80).map(running)
policies: st.SearchStrategy[KeepPolicy] = st.sampled_from(
    [
        LRU(),
        LFU(),
        Heat(),
        Semantic(),
        Composite(),
        Composite(((Heat(), 1.0), (Label(weights={"hot": 2.0}), 0.5))),
    ]
)


@settings(max_examples=150, deadline=None)
@given(traces, policies)
def test_budgets_hold_after_each_step(trace: list[Event], policy: KeepPolicy) -> None:
    planner = Planner(BUDGETS, RULES, policy)
    spent = {True: 0.0, False: 0.0}
    for event in trace:
        if isinstance(event, Tick):
            spent = {True: 0.0, False: 0.0}
        for action in planner.step(event):
            spent[action.target is Tier.PARAMETER] += action.build_ms
        for tier in BOUNDED:
            real = sum(
                memory.forms[tier].bytes
                for memory in planner.holding
                if memory.tier is tier
                or (tier is Tier.PLAINTEXT and memory.tier is not Tier.ARCHIVE)
            )
            assert real == planner.holding.bytes[tier] <= BUDGETS.bytes_of(tier)
        assert spent[False] <= 200.0
        assert spent[True] <= 900.0 + 1e-6  # a set's milliseconds are shared out


@settings(max_examples=150, deadline=None)
@given(traces, policies)
def test_actions_say_where_each_memory_is(trace: list[Event], policy: KeepPolicy) -> None:
    """Someone who follows the actions alone knows what the scheduler knows."""
    planner = Planner(BUDGETS, RULES, policy)
    where: dict[str, Tier] = {}
    for event in trace:
        known = isinstance(event, Added) and event.cube_id in where
        if isinstance(event, Added) and not known:
            where[event.cube_id] = Tier.PLAINTEXT
        if isinstance(event, Deleted):
            where.pop(event.cube_id, None)
        if isinstance(event, Lost) and where.get(event.cube_id) is event.tier:
            where[event.cube_id] = Tier.PLAINTEXT
        if isinstance(event, Learned):
            there = [one for one in event.cube_ids if where.get(one, Tier.ARCHIVE) != Tier.ARCHIVE]
            where.update(dict.fromkeys(there, Tier.PARAMETER))
        for action in planner.step(event):
            assert where[action.cube_id] is action.source
            assert action.reason
            if action.target is None:
                del where[action.cube_id]
            else:
                where[action.cube_id] = action.target
        assert {memory.cube_id: memory.tier for memory in planner.holding} == where


@settings(max_examples=150, deadline=None)
@given(traces, policies)
def test_nothing_flaps(trace: list[Event], policy: KeepPolicy) -> None:
    """Unless it must, a memory that moved stays for a while."""
    planner = Planner(BUDGETS, RULES, policy)
    moved: dict[str, float] = {}
    for event in trace:
        if isinstance(event, Deleted):
            moved.pop(event.cube_id, None)
        for action in planner.step(event):
            if not action.forced and action.kind != "Archive":
                before = moved.get(action.cube_id, float("-inf"))
                assert action.at - before >= RULES.min_residence
            moved[action.cube_id] = action.at
            if action.target is None:
                del moved[action.cube_id]


@settings(max_examples=75, deadline=None)
@given(traces, policies)
def test_the_same_trace_gives_the_same_actions(trace: list[Event], policy: KeepPolicy) -> None:
    def once() -> list[Action]:
        return list(replay(trace, budgets=BUDGETS, rules=RULES, policy=policy))

    first = once()
    assert first == once()
    assert [from_json(to_json(action)) for action in first] == first


@settings(max_examples=75, deadline=None)
@given(traces, policies)
def test_what_is_learnt_from_the_past_moves_nothing(trace: list[Event], policy: KeepPolicy) -> None:
    planner = Planner(BUDGETS, RULES, policy)
    for event in trace:
        planner.learn(event)
    assert planner.decisions() == []
    told = {one for event in trace if isinstance(event, Learned) for one in event.cube_ids}
    for memory in planner.holding:
        allowed = {Tier.PLAINTEXT, *([Tier.PARAMETER] if memory.cube_id in told else [])}
        assert memory.tier in allowed
