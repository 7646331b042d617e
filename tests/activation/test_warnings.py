"""What costs time and no answer is a :class:`KVCacheWarning`, and never an error."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from memos_integrations.errors import KVCacheWarning
from memos_integrations.memories.activation import tiers
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.models.causal import CausalModel
from tests.activation.test_faults import files, flip
from tests.activation.tiny import build, logits, prompt_of

PROMPT = prompt_of(1, length=300)
LOG = logging.getLogger("memos_integrations.tests")


@pytest.fixture(scope="module")
def model() -> CausalModel:
    return build("gemma3")


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FolderTier]:
    opened = FolderTier(tmp_path)
    yield opened
    opened.close()


def test_the_log_and_the_warning_say_the_same(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.warns(KVCacheWarning) as said:
        warn(LOG, "%s: %d of them, 100%% gone", "a folder", 3)
    [one] = said
    assert str(one.message) == caplog.messages[0] == "a folder: 3 of them, 100% gone"
    assert one.filename == __file__, "whose line it is"


def test_it_can_be_filtered_by_its_category(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore", KVCacheWarning)
        warn(LOG, "not seen")
    assert said == [] and caplog.messages == ["not seen"]


@pytest.mark.parametrize("how", ["filter", "hook"])
def test_a_warning_made_an_error_ends_nothing(
    how: str,
    model: CausalModel,
    tier: FolderTier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither the request that finds a fault, nor the thread that writes."""
    raised: list[object] = []
    right, _ = logits(ActivationEngine(model, tier=tier), PROMPT)
    tier.flush()

    def refuse(*given: object, **_: object) -> None:
        raised.append(given[0])
        raise KeyError("a hook of somebody's")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for path in files(tier.catalogue.folder):
        flip(path)
    with warnings.catch_warnings(), monkeypatch.context() as patched:
        warnings.simplefilter("error" if how == "filter" else "always")
        if how == "hook":
            patched.setattr(warnings, "showwarning", refuse)
        patched.setattr(tiers, "save_file", full)
        again, cached = logits(ActivationEngine(model, tier=tier), PROMPT)
        tier.flush()
    assert cached == 0 and torch.equal(again, right)
    assert tier.damaged >= 1 and tier.unwritten >= 1
    assert bool(raised) is (how == "hook")
    ActivationEngine(model, tier=tier).precompute(PROMPT)
    tier.flush()
    assert len(tier.catalogue) >= 2, "the writer is there still"
