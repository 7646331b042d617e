"""When a cache pays: the policy is arithmetic, and says so."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.admission import AdmissionPolicy, Rates

RATES = Rates(prefill_tokens_per_second=1_000, load_bytes_per_second=1e9, bytes_per_token=10_000)


def test_what_is_used_often_is_admitted() -> None:
    policy = AdmissionPolicy()
    often, never = policy.decide(500, 10.0, RATES), policy.decide(500, 0.0, RATES)
    assert often.admit and not never.admit
    assert often.build_seconds == 0.5
    assert often.saved_seconds == pytest.approx(0.5 - 0.005)
    assert "6.9 uses are expected within 1 h, more than the 1.5" in often.reason
    assert "0.0 uses are expected within 1 h, not more than" in never.reason


def test_what_is_built_stays_longer() -> None:
    """Hysteresis: between the two break-evens the state does not change."""
    policy = AdmissionPolicy(hysteresis=2.0)
    new = policy.decide(500, 1.0, RATES)
    old = policy.decide(500, 1.0, RATES, cached=True)
    assert not new.admit and old.admit
    assert old.break_even_uses < new.break_even_uses
    assert "built already" in old.reason and "ms to build" in new.reason


def test_a_cache_that_loads_slower_than_it_is_computed_is_refused() -> None:
    slow = Rates(prefill_tokens_per_second=1e6, load_bytes_per_second=1e6, bytes_per_token=10_000)
    decision = AdmissionPolicy().decide(500, 1e6, slow)
    assert not decision.admit and decision.break_even_uses == math.inf
    assert decision.reason == "loading the cache would take longer than computing it"


def test_uses_cool() -> None:
    policy = AdmissionPolicy(half_life=60.0)
    assert policy.cooled(8.0, 0) == 8.0
    assert policy.cooled(8.0, 60) == 4.0
    assert policy.cooled(8.0, 180) == 1.0
    assert policy.cooled(8.0, -5) == 8.0, "a clock that goes back heats nothing"


def test_a_count_of_another_half_life() -> None:
    """Of a use a minute, for long: both counts expect what will be."""
    minute, week = AdmissionPolicy(half_life=3_600.0, horizon=7_200.0), 7 * 86_400.0
    count = sum(0.5 ** (60 * i / week) for i in range(200_000))
    assert minute.expected(minute.heat_of(count, week)) == pytest.approx(120, rel=0.01)


@given(
    tokens=st.integers(1, 100_000),
    heat=st.floats(0, 1e6),
    more=st.floats(0, 1e6),
    cached=st.booleans(),
)
def test_more_use_never_drops_a_cache(tokens: int, heat: float, more: float, cached: bool) -> None:
    policy = AdmissionPolicy()
    before = policy.decide(tokens, heat, RATES, cached=cached)
    after = policy.decide(tokens, heat + more, RATES, cached=cached)
    assert after.admit or not before.admit


@pytest.mark.parametrize(
    "options",
    [{"half_life": 0}, {"horizon": -1}, {"hysteresis": 0.5}, {"byte_seconds_cost": -1.0}],
)
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        AdmissionPolicy(**options)
