"""What may happen to the files: each time the right answer, a warning, and nothing half done.

Each fault is said in the log, and as a :class:`KVCacheWarning`.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from memos_integrations.errors import KVCacheWarning
from memos_integrations.memories.activation import tiers
from memos_integrations.memories.activation.catalogue import Catalogue
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.memories.activation.tensors import DamagedPieceError
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.models.causal import CausalModel
from tests.activation.tiny import build, logits, prompt_of

PROMPT = prompt_of(1, length=300)


@pytest.fixture(scope="module")
def model() -> CausalModel:
    return build("gemma3")


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FolderTier]:
    opened = FolderTier(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def written(model: CausalModel, tier: FolderTier) -> torch.Tensor:
    """The right answer; the pieces of the prompt are on disk."""
    right, _ = logits(ActivationEngine(model, tier=tier), PROMPT)
    tier.flush()
    assert len(tier.catalogue) >= 2
    return right


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*"))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.write_bytes(b"GIF89a" + bytes(500))


def pickled(path: Path) -> None:
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [cut, flip, empty, foreign, pickled, gone])
@pytest.mark.parametrize("reopened", [False, True], ids=["while open", "while closed"])
def test_a_harmed_file_is_a_miss(
    harm: Callable[[Path], None],
    reopened: bool,
    model: CausalModel,
    tier: FolderTier,
    written: torch.Tensor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tier.catalogue.folder
    for path in files(folder):
        harm(path)
    unseen = reopened and harm is gone
    with nullcontext() if unseen else pytest.warns(KVCacheWarning, match="removed"):
        fresh = FolderTier(folder) if reopened else tier
        engine = ActivationEngine(model, tier=fresh)
        again, cached = logits(engine, PROMPT)
    assert cached == 0 and torch.equal(again, written)
    if not unseen:
        assert "removed" in caplog.text
    fresh.flush()
    healed, cached = logits(ActivationEngine(model, tier=fresh), PROMPT)
    assert cached > 0 and torch.equal(healed, written), "written anew"
    assert not (Path.cwd() / "pwned").exists()
    if reopened:
        fresh.close()


def test_one_harmed_piece_of_several(
    model: CausalModel, tier: FolderTier, written: torch.Tensor
) -> None:
    """What stands before it is read, what stands behind it is computed."""
    engine = ActivationEngine(model)
    engine.precompute(PROMPT)
    last = engine.tree.nodes()[-1].digest
    flip(tier.catalogue.path(last))
    with pytest.warns(KVCacheWarning, match="not what was written: removed, and computed again"):
        again, cached = logits(ActivationEngine(model, tier=tier), PROMPT)
    assert 0 < cached < PROMPT.ends[-2] and torch.equal(again, written)
    assert tier.damaged == 1


def test_a_layer_is_read_when_it_runs(
    model: CausalModel, tier: FolderTier, written: torch.Tensor
) -> None:
    """The first layers had run when the last one turned out to be harmed; then all run again."""
    engine = ActivationEngine(model)
    engine.precompute(PROMPT)
    flip(tier.catalogue.path(engine.tree.nodes()[-1].digest))
    ran: list[int] = []
    layers = model.model.base_model.layers
    hooks = [
        layer.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, layer in enumerate(layers)
    ]
    try:
        with pytest.warns(KVCacheWarning, match="not what was written"):
            again, _ = logits(ActivationEngine(model, tier=tier), PROMPT)
    finally:
        for hook in hooks:
            hook.remove()
    last = len(layers) - 1
    assert torch.equal(again, written)
    assert ran[: 2 * last + 1] == [*range(last), *range(last + 1)], "stopped before the last"


def test_a_layer_goes_to_the_device_when_it_is_needed(
    model: CausalModel, tier: FolderTier, written: torch.Tensor
) -> None:
    engine = ActivationEngine(model)
    engine.precompute(PROMPT)
    node = engine.tree.nodes()[-1]
    found = tier.load(node.digest, node.tokens)
    assert found is not None
    there = found[0].to(torch.device("meta"))
    here = found[0].layer(0)
    flip(tier.catalogue.path(node.digest))
    assert here is not None
    assert [one.device.type for one in there.layer(0) or ()] == ["meta", "meta"]
    assert [one.shape for one in there.layer(0) or ()] == [one.shape for one in here]
    assert len(there) == len(node.payload) and there.tokens == len(node.tokens)
    with pytest.raises(DamagedPieceError, match="not what was written"):
        there.layer(len(there) - 1)


@pytest.mark.parametrize(
    ("says", "lies"),
    [
        (rb'"tokens":"[', rb'"tokens":"[1'),
        (rb"\"m1-0", rb"\"m2-0"),
        (rb'"dtype":"BF16","shape"', rb'"dtype":"F16" ,"shape"'),
        (rb'"count":"3"', rb'"count":"4"'),
    ],
)
def test_a_header_that_lies(says: bytes, lies: bytes, tier: FolderTier) -> None:
    model = build("gemma3", torch.bfloat16)
    right, _ = logits(ActivationEngine(model, tier=tier), PROMPT)
    tier.flush()
    for path in files(tier.catalogue.folder):
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header = content[8:end].replace(says, lies, 1)
        assert header != content[8:end]
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])
    with pytest.warns(KVCacheWarning, match="removed"):
        fresh = FolderTier(tier.catalogue.folder)
        again, cached = logits(ActivationEngine(model, tier=fresh), PROMPT)
    assert cached == 0 and torch.equal(again, right)
    fresh.close()


def test_a_piece_under_another_s_name(
    model: CausalModel, tier: FolderTier, written: torch.Tensor
) -> None:
    """The same words behind others: the tokens fit, what was computed does not."""
    words = prompt_of(2, length=1_100, memories=0).tokens
    spans = (Span(0, 512, Source("a", 1)), Span(512, 1_024, Source("b", 1)))
    one, other = (Prompt((first, *words[1:]), spans) for first in (1, 2))
    right = {}
    for prompt in (one, other):
        right[prompt], _ = logits(ActivationEngine(model, tier=tier), prompt)
    tier.flush()
    paths = []
    for prompt in (one, other):
        engine = ActivationEngine(model)
        engine.precompute(prompt)
        paths.append(tier.catalogue.path(engine.tree.nodes()[-1].digest))
    assert paths[0] != paths[1]
    paths[0].write_bytes(paths[1].read_bytes())
    with pytest.warns(KVCacheWarning, match="it has the name of another piece"):
        fresh = FolderTier(tier.catalogue.folder)
    again, cached = logits(ActivationEngine(model, tier=fresh), one)
    assert cached == 512 and torch.equal(again, right[one])
    fresh.close()


def with_another_word() -> CausalModel:
    model = build("gemma3")
    model.tokenizer.add_tokens(["another"])
    return model


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: build("gemma3", torch.bfloat16), "pieces of gemma3 .* with another dtype"),
        (with_another_word, "pieces of gemma3 .* with another tokenizer"),
        (lambda: build("llama"), ""),
    ],
    ids=["another type", "another tokenizer", "another model"],
)
def test_what_another_model_computed_is_a_miss(
    other: Callable[[], CausalModel],
    said: str,
    model: CausalModel,
    tier: FolderTier,
    written: torch.Tensor,
) -> None:
    """Never a guess; a model of this name that reads otherwise is told of, once."""
    changed = other()
    assert changed.fingerprint != model.fingerprint
    with pytest.warns(KVCacheWarning, match=said) if said else nullcontext():
        _, cached = logits(ActivationEngine(changed, tier=tier), PROMPT)
    assert cached == 0
    with warnings.catch_warnings(record=True) as more:
        warnings.simplefilter("always")
        ActivationEngine(changed, tier=tier).precompute(prompt_of(2))
        again, cached = logits(ActivationEngine(model, tier=tier), PROMPT)
    assert cached > 0 and torch.equal(again, written) and not more


def test_a_full_disk(
    model: CausalModel,
    tier: FolderTier,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tiers, "save_file", full)
    engine = ActivationEngine(model, tier=tier)
    with pytest.warns(KVCacheWarning, match="not written, it stays in memory: .*No space left"):
        right, _ = logits(engine, PROMPT)
        tier.flush()
    assert tier.unwritten >= 2 and "No space left" in caplog.text
    assert files(tier.catalogue.folder) == [], "nothing half written"
    again, cached = logits(engine, PROMPT)
    assert cached > 0 and torch.equal(again, right), "memory still holds it"


_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.tiers import FolderTier
from tests.activation.tiny import build, logits, prompt_of
tier = FolderTier(Path(sys.argv[1]))
engine = ActivationEngine(build("llama"), tier=tier)
one, _ = logits(engine, prompt_of(1, length=300))
tier.flush()
two, cached = logits(engine, prompt_of(1, length=300))
assert cached > 0 and (one == two).all()
assert tier.unwritten >= 1 and len(tier.catalogue) == 0, (tier.unwritten, len(tier.catalogue))
print("fine")
"""


def test_a_disk_that_takes_four_kilobytes(tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "fine\n", done.stderr
    assert [path for path in files(tmp_path) if path.is_file()] == []


_KILLED = """
import sys
from pathlib import Path
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.tiers import FolderTier
from tests.activation.tiny import build, prompt_of
tier = FolderTier(Path(sys.argv[1]))
engine = ActivationEngine(build("llama"), tier=tier)
print("ready", flush=True)
for seed in range(10_000):
    engine.precompute(prompt_of(seed, length=400))
"""


@pytest.mark.parametrize("pieces", [0, 1, 5, 40], ids=lambda n: f"after {n} pieces")
def test_killed_while_precomputing(pieces: int, tmp_path: Path) -> None:
    """What was written whole is read, what was not is computed; at whatever moment it ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    while len(list(tmp_path.glob("??/*.safetensors"))) < pieces:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    kept = {path.stem for path in tmp_path.glob("??/*.safetensors")}
    assert len(kept) >= pieces
    (tmp_path / "00").mkdir(exist_ok=True)
    (tmp_path / "00" / "half.part").write_bytes(b"half")
    with pytest.warns(KVCacheWarning, match="half written, removed"):
        tier = FolderTier(tmp_path)
    assert not list(tmp_path.glob("??/*.part")), "half-written files are gone"
    assert set(tier.catalogue.digests()) == kept, "what has its name was whole"
    model, hits = build("llama"), 0
    for seed in range(3):
        prompt = prompt_of(seed, length=400)
        cold, _ = logits(ActivationEngine(model), prompt)
        warm, cached = logits(ActivationEngine(model, tier=tier), prompt)
        assert torch.equal(cold, warm)
        hits += cached
    assert hits > 0 or not kept
    tier.close()


def test_the_folder_may_be_deleted(
    model: CausalModel, tier: FolderTier, written: torch.Tensor
) -> None:
    import shutil

    shutil.rmtree(tier.catalogue.folder)
    again, cached = logits(ActivationEngine(model, tier=tier), PROMPT)
    assert cached == 0 and torch.equal(again, written)


def test_what_is_too_much_goes(model: CausalModel, tmp_path: Path) -> None:
    tier = FolderTier(tmp_path, budget=300_000)
    engine = ActivationEngine(model, tier=tier)
    for seed in range(30):
        engine.precompute(prompt_of(seed))
        tier.flush()
        assert tier.catalogue.bytes <= 320_000, "a header more, at most"
    assert len(tier.catalogue) > 1
    assert {path.stem for path in files(tmp_path)} == set(tier.catalogue.digests())
    tier.close()


def test_a_memory_forgotten_while_it_is_written(model: CausalModel, tmp_path: Path) -> None:
    tier = FolderTier(tmp_path)
    engine = ActivationEngine(model, tier=tier)
    for seed in range(10):
        prompt = prompt_of(seed)
        engine.precompute(prompt)
        engine.drop_cubes([span.source.cube_id for span in prompt.spans])
    tier.flush()
    assert files(tmp_path) == [] or all(path.is_dir() for path in files(tmp_path))
    assert len(Catalogue(tmp_path)) == 0 and len(tier.catalogue) == 0
    tier.close()
