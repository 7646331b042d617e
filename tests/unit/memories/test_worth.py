"""Whether an adapter pays: uses so far against training, and how long nothing changed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from memos_integrations import MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.admission import Rates
from memos_integrations.memories.parameter.texts import lessons
from memos_integrations.memories.parameter.worth import WorthPolicy
from memos_integrations.testing import FakeClock

FACTS = ["Tamsin keeps a parrot named Quibble.", "Bramwell studied botany."]


def test_it_pays_once_it_is_used_enough_and_stable(memory: MemOS, clock: FakeClock) -> None:
    maya = memory.session("maya")
    facts = maya.add(FACTS)
    unused = maya.worth_distilling(facts)
    assert (unused.pays, unused.expected_uses) == (False, 0.0)
    assert "0 uses are expected within 30 days, not more than the " in unused.reason
    for _ in range(900):
        maya.search("Tamsin keeps a parrot; Bramwell studied botany", limit=2)
    young = maya.worth_distilling(facts)
    assert young.expected_uses > young.break_even_uses > 0
    assert not young.pays and "one of them changed 0.0 days ago, 7 are asked for" in young.reason
    clock.advance(hours=24 * 7)
    stable = maya.worth_distilling(facts)
    assert stable.pays and stable.expected_uses == pytest.approx(young.expected_uses / 2, rel=0.01)
    fast = maya.worth_distilling(facts, rates=Rates(prefill_tokens_per_second=5_000))
    assert fast.break_even_uses == stable.break_even_uses
    assert fast.training_ms == pytest.approx(stable.training_ms / 10)
    assert fast.saved_ms == pytest.approx(stable.saved_ms / 10)
    more = maya.worth_distilling(facts, rounds=12)
    assert more.training_tokens == pytest.approx(2 * stable.training_tokens)
    maya.update(facts[0].id, "Tamsin keeps a cat.")
    assert not maya.worth_distilling([fact.id for fact in facts]).pays


def test_bad_policies_and_what_is_taught(memory: MemOS) -> None:
    [fact] = memory.session("maya").add("Tamsin keeps a parrot named Quibble. I am at home.")
    said = lessons(fact)
    assert [one.said for one in said if not one.asked] == [
        "Tamsin keeps a parrot named Quibble.",
        "You are at home.",
    ]
    for bad in ({"stable": timedelta(-1)}, {"horizon": timedelta(0)}, {"hysteresis": 0.5}):
        with pytest.raises(InvalidInputError, match="hysteresis"):
            WorthPolicy(**bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="one or more"):
        memory.session("maya").worth_distilling([])
