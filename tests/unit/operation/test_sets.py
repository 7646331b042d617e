"""The planner's decisions about sets of memories that one adapter would know: pure, no store."""

from __future__ import annotations

import pytest

from memos_integrations.operation.scheduling.actions import Action, Consolidate
from memos_integrations.operation.scheduling.events import (
    Added,
    Event,
    Learned,
    Lost,
    Pressure,
    Shown,
    Tick,
    Updated,
    Weighed,
)
from memos_integrations.operation.scheduling.planner import Planner, replay
from memos_integrations.operation.scheduling.rules import Budgets, Rules
from memos_integrations.operation.scheduling.tiers import Form, Tier

RULES = Rules(consolidate_uses=3.0, stable_for=100.0, archive_after=None, min_residence=10.0)
IDS = ("m0", "m1", "m2")
FORM = Form(300, 900.0)


def used(ids: tuple[str, ...] = IDS, times: int = 3) -> list[Event]:
    """Memories that were shown together, and long ago enough."""
    added = [Added(0.0, one, plaintext=Form(10)) for one in ids]
    shown = [Shown(1.0 + n, ids) for n in range(times)]
    return [*added, *shown, Tick(200.0)]


def planner(events: list[Event], **budgets: float) -> Planner:
    made = Planner(Budgets(**budgets), RULES)  # type: ignore[arg-type]
    for event in events:
        made.step(event)
    return made


def trained(actions: list[Action]) -> list[str]:
    return [one.cube_id for one in actions if isinstance(one, Consolidate)]


def weighed(at: float = 200.0, *, ids: tuple[str, ...] = IDS, pays: bool = True) -> Weighed:
    return Weighed(at, ids, pays, "break-even at 12 uses", FORM)


def test_ready_is_what_is_used_and_stable() -> None:
    made = planner(used())
    assert sorted(made.ready()) == [*IDS]
    assert planner(used(times=2)).ready() == []
    made.step(Updated(201.0, "m1", plaintext=Form(10)))
    assert sorted(made.ready()) == ["m0", "m2"]
    made.step(Tick(301.0))
    assert sorted(made.ready()) == [*IDS]


def test_a_set_that_pays_is_trained_as_a_whole() -> None:
    made = planner(used())
    actions = made.step(weighed())
    assert trained(actions) == [*IDS]
    assert all("break-even at 12 uses" in one.reason for one in actions)
    assert sum(one.build_ms for one in actions) == pytest.approx(900.0)
    assert made.holding.bytes[Tier.PARAMETER] == 300
    assert made.ready() == []


def test_a_set_that_does_not_pay_waits_and_says_why() -> None:
    made = planner(used())
    assert made.step(weighed(pays=False)) == []
    found = made.explain("m0")
    assert found is not None and "break-even at 12 uses" in str(found)
    assert found.tier is Tier.PLAINTEXT


@pytest.mark.parametrize(
    ("budgets", "why"),
    [
        ({"parameter": 299}, "more than the tier has"),
        ({"training_ms": 899.0}, "more than a tick has"),
    ],
)
def test_a_set_is_all_or_none(budgets: dict[str, float], why: str) -> None:
    made = planner(used(), **budgets)
    assert made.step(weighed()) == []
    found = made.explain("m2")
    assert found is not None and why in found.waits


def test_a_tick_trains_as_much_as_it_has_milliseconds() -> None:
    made = planner(used(("m0", "m1", "m2", "m3")), training_ms=1_000.0)
    assert trained(made.step(weighed(ids=("m0", "m1")))) == ["m0", "m1"]
    assert made.step(weighed(ids=("m2", "m3"))) == []
    made.step(Tick(260.0))
    assert trained(made.step(weighed(260.0, ids=("m2", "m3")))) == ["m2", "m3"]


def test_a_set_that_grows_is_charged_once() -> None:
    made = planner(used(("m0", "m1", "m2", "m3")))
    made.step(weighed(ids=IDS))
    made.step(Tick(260.0))
    grown = (*IDS, "m3")
    assert trained(made.step(weighed(260.0, ids=grown))) == ["m3"]
    assert made.holding.bytes[Tier.PARAMETER] == 300
    assert {one.forms[Tier.PARAMETER].bytes for one in made.holding} == {75}


def test_what_adapters_know_is_taken_as_it_is() -> None:
    made = planner(used())
    made.step(Learned(210.0, ("m0", "m1"), 400))
    assert made.holding.bytes[Tier.PARAMETER] == 400 and made.ready() == ["m2"]
    made.step(Lost(220.0, "m0", Tier.PARAMETER))
    assert sorted(made.ready()) == ["m0", "m2"]
    assert made.step(weighed(221.0)) == [], "what has just moved stays for a while"
    assert trained(made.step(weighed(231.0))) == ["m0", "m2"]


def test_pressure_lets_go_of_weights_and_they_are_not_made_anew_at_once() -> None:
    made = planner(used())
    made.step(weighed())
    actions = made.step(Pressure(220.0, Tier.PARAMETER, 1))
    assert [(one.kind, one.source) for one in actions] == [("Demote", Tier.PARAMETER)]
    gone = actions[0].cube_id
    assert made.step(weighed(240.0)) == []
    found = made.explain(gone)
    assert found is not None and "memory was short" in found.waits
    made.step(Tick(290.0))
    assert trained(made.step(weighed(290.0))) == [gone]


def test_the_same_trace_gives_the_same_sets() -> None:
    trace: list[Event] = [*used(), weighed(), Learned(210.0, IDS, 250), Tick(300.0)]
    first = list(replay(trace, rules=RULES))
    assert trained(first) == [*IDS] and first == list(replay(trace, rules=RULES))
