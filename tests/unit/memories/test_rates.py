"""Which rates are measured, and which are guesses."""

from __future__ import annotations

import pytest

from memos_integrations.memories.activation.admission import Rates
from memos_integrations.memories.activation.loads import ENOUGH, MUCH, Loads
from memos_integrations.memories.activation.tally import Tally


def test_each_rate_says_whether_it_is_measured() -> None:
    tally, loads = Tally(), Loads()
    assert tally.rates(loads) == tally.rates() == Rates()
    tally.computed(100, 0.5, 1_000_000)
    computed = tally.rates(loads)
    assert (computed.prefill_tokens_per_second, computed.bytes_per_token) == (200.0, 10_000.0)
    assert computed.measured and not computed.load_measured
    assert computed.load_bytes_per_second == Rates().load_bytes_per_second
    loads.add(ENOUGH, 0.25)
    both = tally.rates(loads)
    assert both.measured and both.load_measured and both.load_bytes_per_second == 4 * ENOUGH
    loaded = Tally().rates(loads)
    assert loaded.load_measured and not loaded.measured


def test_too_little_says_nothing() -> None:
    loads = Loads()
    loads.add(ENOUGH - 1, 1.0)
    assert loads.rate() is None


def test_what_was_long_ago_counts_less() -> None:
    loads = Loads()
    loads.add(2 * MUCH, 2.0)
    loads.add(MUCH, 2.0)
    assert loads.rate() == pytest.approx(2 * MUCH / 3.0)
