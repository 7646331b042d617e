"""Pieces in a store elsewhere: used when it works, missed when it does not, gone when they must."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from memos_integrations.errors import InvalidInputError, KVCacheWarning, MissingExtraError
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.remote import RemoteTier
from memos_integrations.memories.activation.remote_folder import RemoteFolder
from memos_integrations.memories.activation.resting import Rest
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.models.causal import CausalModel
from tests.activation.test_faults import cut, empty, flip, foreign, gone, pickled
from tests.activation.tiny import build, logits, prompt_of

PROMPT = prompt_of(1, length=300)
KNOWN = PROMPT.sources(0, PROMPT.ends[-2])


class Moody(LocalFileSystem):
    """A local folder as a store elsewhere that may be down, read-only or silent."""

    protocol = "moody"
    cachable = False
    down = read_only = False
    gate = threading.Event()
    """Reading waits for it."""

    def get_file(self, *arguments: Any, **options: Any) -> Any:
        self._ask()
        assert self.gate.wait(60)
        return super().get_file(*arguments, **options)

    def find(self, *arguments: Any, **options: Any) -> Any:
        self._ask()
        return super().find(*arguments, **options)

    def put_file(self, *arguments: Any, **options: Any) -> Any:
        self._ask(writing=True)
        return super().put_file(*arguments, **options)

    def rm_file(self, path: str) -> Any:
        self._ask(writing=True)
        return super().rm_file(path)

    def _ask(self, *, writing: bool = False) -> None:
        if type(self).down:
            raise ConnectionError("nobody answers")
        if writing and type(self).read_only:
            raise PermissionError("read-only")


@pytest.fixture(scope="module")
def model() -> CausalModel:
    return build("gemma3")


@pytest.fixture(autouse=True)
def stores() -> Iterator[None]:
    fsspec.register_implementation("moody", Moody, clobber=True)
    Moody.down = Moody.read_only = False
    Moody.gate.set()
    MemoryFileSystem.store.clear()
    yield
    Moody.gate.set()
    MemoryFileSystem.store.clear()


@pytest.fixture(params=["memory", "folder", "moody"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    there = tmp_path / "there, a:b"
    return {"memory": "memory://kv", "folder": there, "moody": f"moody://{there}"}[request.param]


Open = Callable[..., RemoteTier]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens machines: each has a folder of its own, and the same store elsewhere."""
    tiers: list[RemoteTier] = []

    def make(
        url: str | Path,
        *,
        outdated: Collection[Source] = (),
        here: Path | None = None,
        store: str = "id",
        dtype: Any = None,
        **options: Any,
    ) -> RemoteTier:
        folder = FolderTier(here or tmp_path / f"here{len(tiers)}", dtype=dtype)
        gone = set(outdated)
        tier = RemoteTier(
            folder, RemoteFolder(url, store), gate=lambda asked: gone & set(asked), **options
        )
        tiers.append(tier)
        return tier

    yield make
    Moody.gate.set()
    for tier in tiers:
        tier.close()


def ask(model: CausalModel, tier: RemoteTier) -> tuple[torch.Tensor, int]:
    """With nothing in memory."""
    found = logits(ActivationEngine(model, tier=tier), PROMPT)
    tier.flush()
    return found


def sent(model: CausalModel, tier: RemoteTier) -> torch.Tensor:
    right, cached = ask(model, tier)
    assert cached == 0 and tier.report()["sent"] >= 2
    return right


def there(tier: RemoteTier) -> dict[str, int]:
    return tier.store.pieces()


def paths(tier: RemoteTier, tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "there").rglob("*.safetensors"))


def ready(tier: RemoteTier) -> RemoteTier:
    """Once it has been listed."""
    tier.flush()
    return tier


# It works -----------------------------------------------------------------------------------


def test_another_machine_reads_what_one_computed(
    url: str | Path, model: CausalModel, opened: Open
) -> None:
    right = sent(model, opened(url))
    other = ready(opened(url))
    again, cached = ask(model, other)
    assert cached == PROMPT.ends[-2] and torch.equal(again, right), "bit for bit"
    report = other.report()
    assert report["fetched"] == len(other.folder.catalogue) >= 2
    assert (report["sent"], report["failures"]) == (0, 0), "what came from there is not sent back"


def test_no_store_sees_another_one_s(url: str | Path, model: CausalModel, opened: Open) -> None:
    sent(model, opened(url))
    other = ready(opened(url, store="another"))
    assert there(other) == {}
    _, cached = ask(model, other)
    assert cached == 0


def test_what_was_in_the_folder_before_is_sent(
    model: CausalModel, opened: Open, tmp_path: Path
) -> None:
    before = FolderTier(tmp_path / "here")
    logits(ActivationEngine(model, tier=before), PROMPT)
    before.close()
    tier = ready(opened("memory://kv", here=tmp_path / "here"))
    assert set(there(tier)) == set(before.catalogue.digests())


def test_rounded_and_exact_pieces_do_not_meet(model: CausalModel, opened: Open) -> None:
    sent(model, opened("memory://kv", dtype="int8"))
    _, cached = ask(model, ready(opened("memory://kv")))
    assert cached == 0
    _, cached = ask(model, ready(opened("memory://kv", dtype="int8")))
    assert cached > 0


# It does not --------------------------------------------------------------------------------


def test_a_store_that_is_down(
    model: CausalModel, opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    right, _ = logits(ActivationEngine(model), PROMPT)
    Moody.down = True
    with pytest.warns(KVCacheWarning, match="nobody answers") as said:
        tier = opened(f"moody://{tmp_path}/there", rest=1e6)
        for _ in range(3):
            answer, _ = ask(model, tier)
            assert torch.equal(answer, right)
    assert {" ".join(str(one.message).split(": ")[0].split()[1:]) for one in said} == {
        "cannot be listed",
        "cannot be written",
    }
    report = tier.report()
    assert not report["listed"] and report["failures"] == 2, "asked once to list, once to send"
    assert caplog.text.count("nobody answers") == 2
    Moody.down = False
    tier.try_again()
    tier.flush()
    assert len(there(tier)) == len(tier.folder.catalogue), "sent when it is there again"
    assert tier.report()["failing"] == []


def test_down_when_asked_for_a_piece(model: CausalModel, opened: Open, tmp_path: Path) -> None:
    url = f"moody://{tmp_path}/there"
    right = sent(model, opened(url))
    other = ready(opened(url, rest=1e6))
    Moody.down = True
    with pytest.warns(KVCacheWarning, match="cannot be (read|written): ConnectionError"):
        again, cached = ask(model, other)
    assert cached == 0 and torch.equal(again, right)
    assert any("cannot be read" in one for one in other.report()["failing"])


def test_a_slow_store_costs_its_patience_once(
    model: CausalModel, opened: Open, tmp_path: Path
) -> None:
    url = f"moody://{tmp_path}/there"
    right = sent(model, opened(url))
    other = ready(opened(url, patience=0.01, rest=1e6))
    Moody.gate.clear()
    with pytest.warns(KVCacheWarning, match="a piece took longer than"):
        again, cached = logits(ActivationEngine(model, tier=other), PROMPT)
    assert cached == 0 and torch.equal(again, right)
    assert other.report()["late"] == 1, "the second piece is not waited for"
    Moody.gate.set()


def test_a_store_that_may_only_be_read(model: CausalModel, opened: Open, tmp_path: Path) -> None:
    url = f"moody://{tmp_path}/there"
    right = sent(model, opened(url))
    Moody.read_only = True
    other = ready(opened(url, rest=1e6))
    again, cached = ask(model, other)
    assert cached > 0 and torch.equal(again, right)
    with pytest.warns(KVCacheWarning, match="cannot be written: PermissionError"):
        ActivationEngine(model, tier=other).precompute(prompt_of(2))
        other.flush()
    report = other.report()
    assert report["unsent"] >= 1 and any("cannot be written" in one for one in report["failing"])
    fresh = ready(opened(url, rest=1e6))
    _, cached = ask(model, fresh)
    assert cached > 0, "reading goes on"


@pytest.mark.parametrize("harm", [cut, flip, empty, foreign, pickled, gone])
@pytest.mark.parametrize("listed", [False, True], ids=["before it is listed", "after"])
def test_a_harmed_file_is_a_miss_and_goes(
    harm: Callable[[Path], None], listed: bool, model: CausalModel, opened: Open, tmp_path: Path
) -> None:
    right = sent(model, opened(tmp_path / "there"))
    other = ready(opened(tmp_path / "there")) if listed else None
    harmed = {path: path.stat().st_size for path in paths(opened(tmp_path / "there"), tmp_path)}
    for path in harmed:
        harm(path)
    with nullcontext() if harm is gone else pytest.warns(KVCacheWarning, match=tmp_path.name):
        other = other or ready(opened(tmp_path / "there"))
        again, cached = ask(model, other)
    assert cached == 0 and torch.equal(again, right)
    assert not list(other.folder.catalogue.folder.glob("??/*.part"))
    healed, cached = ask(model, ready(opened(tmp_path / "there")))
    assert cached > 0 and torch.equal(healed, right), "sent anew"


def test_a_piece_under_another_s_name(model: CausalModel, opened: Open, tmp_path: Path) -> None:
    first = opened(tmp_path / "there")
    right = sent(model, first)
    one, two = paths(first, tmp_path)[:2]
    shutil.copy(one, two)
    with pytest.warns(KVCacheWarning, match="it has the name of another piece"):
        other = ready(opened(tmp_path / "there"))
        again, _ = ask(model, other)
    assert torch.equal(again, right) and other.report()["damaged"] == 1


def test_half_sent_files_go(model: CausalModel, opened: Open, tmp_path: Path) -> None:
    first = opened(tmp_path / "there")
    sent(model, first)
    half = Path(f"{paths(first, tmp_path)[0]}.part")
    half.write_bytes(b"half")
    ready(opened(tmp_path / "there"))
    assert not half.exists()


def test_bytes_elsewhere_stay_within_their_budget(
    model: CausalModel, opened: Open, tmp_path: Path
) -> None:
    tier = opened(tmp_path / "there", budget=200_000)
    engine = ActivationEngine(model, tier=tier)
    for seed in range(12):
        engine.precompute(prompt_of(seed))
        tier.flush()
        assert sum(there(tier).values()) <= 200_000
    assert len(there(tier)) >= 1 and tier.report()["removed"] > 0


def test_close_sends_what_waits(model: CausalModel, opened: Open) -> None:
    tier = opened("memory://kv")
    ActivationEngine(model, tier=tier).precompute(PROMPT)
    tier.close()
    assert len(there(tier)) == len(tier.folder.catalogue) >= 2


def test_close_does_not_wait_for_a_store_that_is_down(
    model: CausalModel, opened: Open, tmp_path: Path
) -> None:
    Moody.down = True
    tier = opened(f"moody://{tmp_path}/there", rest=1e6)
    ActivationEngine(model, tier=tier).precompute(PROMPT)
    tier.close()
    assert not any(thread.is_alive() for thread in tier._threads)


def test_urls_that_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="fsspec knows"):
        RemoteFolder("nonsense://kv", "id")
    if os.environ.get("HAS_S3FS") is None:
        with pytest.raises(MissingExtraError, match=r"s3:// needs a package"):
            RemoteFolder("s3://bucket/kv", "id")


def test_resting_by_the_clock() -> None:
    now = [0.0]
    rest = Rest("it", 30, clock=lambda: now[0])
    with pytest.warns(KVCacheWarning, match="it: OSError: x"):
        rest.failed(OSError("x"))
    assert rest.left() == 30 and rest.failures == 1
    now[0] = 29
    assert rest.left() == 1
    now[0] = 31
    assert rest.left() == 0 and rest.reason
    rest.worked()
    assert not rest.reason


# What must go -------------------------------------------------------------------------------


def test_a_changed_memory_goes_from_there(
    url: str | Path, model: CausalModel, opened: Open
) -> None:
    tier = opened(url)
    sent(model, tier)
    engine = ActivationEngine(model, tier=tier)
    last = PROMPT.spans[-1].source.cube_id
    before = set(there(tier))
    engine.drop_cubes([last])
    tier.flush()
    assert set(there(tier)) < before
    assert all(last not in {s.cube_id for s in e.sources} for _, e in entries(tier))
    engine.drop_cubes([source.cube_id for source in KNOWN])
    tier.flush()
    assert there(tier) == {}


def entries(tier: RemoteTier) -> list[tuple[str, Any]]:
    return list(tier.store.entries(there(tier)))


def test_what_changed_while_nobody_was_there_is_never_fetched(
    url: str | Path, model: CausalModel, opened: Open
) -> None:
    right = sent(model, opened(url))
    other = ready(opened(url, outdated=KNOWN))
    assert there(other) == {}
    again, cached = logits(ActivationEngine(model, tier=other), PROMPT)
    assert cached == 0 and torch.equal(again, right)


def test_changed_while_it_is_fetched(model: CausalModel, opened: Open, tmp_path: Path) -> None:
    url = f"moody://{tmp_path}/there"
    sent(model, opened(url))
    other = ready(opened(url, patience=0.01, rest=1e6))
    Moody.gate.clear()
    engine = ActivationEngine(model, tier=other)
    engine.cached(PROMPT)
    assert other.report()["late"] == 1
    other.folder.catalogue.erase_cubes([source.cube_id for source in KNOWN])
    engine.drop_cubes([source.cube_id for source in KNOWN])
    Moody.gate.set()
    other.close()
    assert len(other.folder.catalogue) == 0 and there(other) == {}
    assert not list(other.folder.catalogue.folder.glob("??/*"))


def test_removed_when_the_store_is_there_again(
    model: CausalModel, opened: Open, tmp_path: Path
) -> None:
    tier = opened(f"moody://{tmp_path}/there", rest=1e6)
    sent(model, tier)
    Moody.down = True
    tier.remove_cubes([source.cube_id for source in KNOWN])
    tier.flush()
    assert tier.report()["to_remove"] >= 2
    _, cached = logits(ActivationEngine(model, tier=tier), PROMPT)
    assert cached == 0, "not fetched meanwhile"
    Moody.down = False
    tier.try_again()
    tier.flush()
    assert tier.report()["to_remove"] == 0


def test_erased_from_a_store_that_no_tier_looks_after(
    url: str | Path, model: CausalModel, opened: Open
) -> None:
    tier = opened(url)
    sent(model, tier)
    tier.close()
    place = RemoteFolder(url, "id")
    place.forget([next(iter(KNOWN)).cube_id])
    left = {one.cube_id for _, entry in entries(tier) if entry for one in entry.sources}
    assert next(iter(KNOWN)).cube_id not in left
    place.clear()
    assert there(tier) == {}
