"""Which beginnings of prompts are computed ahead."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from memos_integrations.memories.activation.chains import LENGTH, MOST, OF, chains


def test_three_of_the_hottest_in_the_order_of_the_prompt() -> None:
    found = chains("abcd", [1.0, 4.0, 3.0, 2.0], shown=4)
    assert found[0] == list("abcd"), "all of them, for prompts that always show the same"
    assert found[1] == list("bcd"), "then the hottest"
    assert ["a", "b", "d"] in found and ["d"] in found
    assert ["a", "b"] not in found and ["a", "b", "c"] not in found, "other chains begin so"


def test_no_chain_is_longer_than_what_prompts_show() -> None:
    assert chains("abcd", [4.0, 3.0, 2.0, 1.0], shown=1) == [["a"], ["b"], ["c"], ["d"]]
    assert chains("ab", [1.0, 2.0], shown=8) == [["a", "b"], ["b"]]
    assert chains("", [], shown=3) == []


@given(heat=st.lists(st.floats(0, 1e6), max_size=12), shown=st.integers(1, 12))
def test_every_beginning_is_computed_and_not_too_many(heat: list[float], shown: int) -> None:
    ordered = list(range(len(heat)))
    found = chains(ordered, heat, shown=shown)
    assert len(found) <= MOST
    assert all(chain == sorted(set(chain)) and len(chain) <= shown for chain in found)
    begun = {tuple(chain[:end]) for chain in found for end in range(len(chain) + 1)}
    hottest = sorted(ordered, key=lambda i: (-heat[i], i))[:OF]
    for size in range(1, min(LENGTH, shown) + 1):
        assert {tuple(sorted(some)) for some in combinations(hottest, size)} <= begun
    assert len({tuple(chain) for chain in found}) == len(found)
