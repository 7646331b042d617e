"""How much sooner the first token comes when memories are read from their KV cache.

``python benchmarks/first_token.py [--model ID_OR_FOLDER | --shape 7b] [--dtype float32]
[--repeats 5]``. ``--shape``: a Llama of that shape with random weights, made on the device
(``tiny`` only shows that the command runs). For memories of 256 to 6,064 tokens and questions of 32
and 167, one interleaved run:

- *cold*: the model as it comes reads everything at once (``logits_to_keep=1``).
- *build*: the engine reads the memories and keeps them, in memory and in a folder of their own;
  paid once. With ``--warm-only`` it is measured once, before the rounds.
- *RAM*, *disk*: the engine reads the question behind the kept memories; ``disk`` with the files in
  the page cache, ``disk, dropped`` after they were dropped from it; ``files, dropped``: reading
  their bytes alone then, which is what the disk can do.
- *floor*: the same question over the same cache, already at hand: no look-up, no fork.
- *by hand*: a kept ``past_key_values``, copied and used as transformers' documentation shows.

Reduction is 1 - RAM / cold, of wall and of processor seconds; it cannot exceed the share of the
memories in the tokens.

What the frameworks' models add is measured over a store in a folder: recalled memories in the
prompt, whose uses are recorded, the gate asked, the pieces on disk; beside the engine's time for as
many tokens as the first word takes. After the tables stands whether each goal is met.
"""

from __future__ import annotations

import argparse
import copy
import gc
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _goals import goals
from _report import save, show
from _shapes import SHAPES, shaped
from llama_index.core.llms import ChatMessage
from transformers import DynamicCache

from memos_integrations import MemOS
from memos_integrations.langchain import ChatMemOS
from memos_integrations.llama_index import MemOSLLM
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.memories.activation.tensors import fork
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.models.causal import CausalModel
from memos_integrations.recall import block
from memos_integrations.testing import WordEmbedder

CONTEXTS = (256, 1_024, 2_048, 6_064)
QUESTIONS = (32, 167)
SENTENCE = "On day {i} Maya told Jonas that the {thing} number {i} stands behind the old mill. "
THINGS = ("boat", "lamp", "piano", "walnut tree", "red bicycle", "letter box", "beehive")


def words(model: CausalModel, tokens: int, seed: int) -> tuple[int, ...]:
    """So many tokens of plain sentences."""
    text, i = "", seed
    while True:
        text += "".join(SENTENCE.format(i=j, thing=THINGS[j % 7]) for j in range(i, i + 50))
        ids = model.encode(text)
        if len(ids) >= tokens:
            return tuple(ids[:tokens])
        i += 50


class Timed:
    """Wall and processor seconds by name."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.wall.setdefault(name, []).append(time.perf_counter() - wall)
        self.cpu.setdefault(name, []).append(time.process_time() - cpu)
        return result

    def best(self, name: str) -> float:
        return min(self.wall[name])

    def median(self, name: str) -> float:
        return statistics.median(self.wall[name])


def drop_from_page_cache(folder: Path) -> None:
    """Ask the system to forget these files' pages."""
    for path in folder.rglob("*.safetensors"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def measure(
    model: CausalModel,
    folder: Path,
    context: int,
    question: int,
    repeats: int,
    *,
    warm_only: bool = False,
) -> dict[str, Any]:
    """One row of the table; ``warm_only``: without what reads everything at once, or copies it."""
    spans = tuple(
        Span(start, min(start + 60, context), Source(f"m{start}", 1))
        for start in range(16, context, 60)
    )
    tokens = words(model, context, 0) + words(model, question, 7_000)
    prompt = Prompt(tokens, spans, salt="bench")
    device, raw = model.device, model.model
    ids = torch.tensor([tokens], device=device)
    suffix, ones = ids[:, context:], torch.ones(1, len(tokens), dtype=torch.long, device=device)
    tier = FolderTier(folder)
    timed = Timed()

    def cold() -> torch.Tensor:
        with torch.inference_mode():
            return raw(
                ids, past_key_values=DynamicCache(config=raw.config), logits_to_keep=1
            ).logits

    def by_hand(kept: DynamicCache) -> torch.Tensor:
        with torch.inference_mode():
            given = {"past_key_values": copy.deepcopy(kept), "attention_mask": ones}
            return raw(suffix, **given, logits_to_keep=1).logits

    def floor(cache: DynamicCache) -> torch.Tensor:
        with torch.inference_mode():
            return raw(suffix, past_key_values=cache, attention_mask=ones, logits_to_keep=1).logits

    def read(engine: ActivationEngine) -> torch.Tensor:
        got = engine.prefill(prompt)
        engine.tree.release(got.lease)
        assert got.usage.cached_tokens == context, got.usage
        return got.logits

    kept = DynamicCache(config=raw.config)
    if not warm_only:
        with torch.inference_mode():
            raw.base_model(ids[:, :context], past_key_values=kept)
    resident = ActivationEngine(model, budget=8 << 30)
    resident.precompute(prompt)
    timed("build", lambda: ActivationEngine(model, budget=8 << 30, tier=tier).precompute(prompt))
    tier.flush()
    for round_ in range(repeats + 1):
        if not warm_only:
            build_anew(model, prompt, timed, folder.parent)
            timed("cold", cold)
        lease = resident.tree.match(resident.root("bench"), prompt.pieces()[:-1])
        at_hand = fork(raw.config, [node.payload for node in lease.nodes])
        timed("floor", lambda c=at_hand: floor(c))
        resident.tree.release(lease)
        logits = timed("RAM", lambda: read(resident))
        if not warm_only:
            timed("by hand", lambda: by_hand(kept))
        from_disk = ActivationEngine(model, budget=8 << 30, tier=tier)
        again = timed("disk", lambda e=from_disk: read(e))
        assert torch.equal(logits, again)
        del from_disk  # pages that are mapped are not dropped
        gc.collect()
        drop_from_page_cache(folder)
        timed("files, dropped", lambda: [path.read_bytes() for path in folder.rglob("*.*")])
        drop_from_page_cache(folder)
        from_disk = ActivationEngine(model, budget=8 << 30, tier=tier)
        timed("disk, dropped", lambda e=from_disk: read(e))
        del from_disk
        if round_ == 0:  # warmed up
            once = timed.wall["build"][:1] if warm_only else []
            timed.wall, timed.cpu = {"build": once}, {}
    bytes_kept = tier.catalogue.bytes
    tier.close()
    return {
        "memories": context,
        "question": question,
        **{f"{name} s": timed.best(name) for name in timed.wall},
        **{f"{name} median s": timed.median(name) for name in timed.wall},
        **{f"{name} cpu s": min(times) for name, times in timed.cpu.items()},
        "share": context / (context + question),
        **_reductions(timed),
        "bytes": bytes_kept,
    }


def build_anew(model: CausalModel, prompt: Prompt, timed: Timed, where: Path) -> None:
    """The memories are read and kept where nothing of them was."""
    with tempfile.TemporaryDirectory(dir=where, prefix=".bench-") as folder:
        tier = FolderTier(Path(folder))
        engine = ActivationEngine(model, budget=8 << 30, tier=tier)
        timed("build", lambda: engine.precompute(prompt))
        tier.close()


def _reductions(timed: Timed) -> dict[str, float]:
    """Of wall and of processor seconds, where there is anything to compare with."""
    if "cold" not in timed.wall:
        return {}
    return {
        "reduction": 1 - timed.best("RAM") / timed.best("cold"),
        "cpu reduction": 1 - min(timed.cpu["RAM"]) / min(timed.cpu["cold"]),
    }


def adapters(model: CausalModel, repeats: int) -> dict[str, float]:
    """Milliseconds that the frameworks' models take more than the engine, to the first word."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
        MemOS.open(folder, embedder=WordEmbedder()) as memory,
    ):
        maya = memory.session("maya")
        texts = [SENTENCE.format(i=i, thing=THINGS[i % 7]).strip() for i in range(40)]
        recalled = maya.add(texts)
        maya.record_uses(recalled, prompt="benchmark")
        chat = LocalChat(maya, model)
        try:
            return _added(chat, f"{block(recalled)}\n\nWhat stands behind the mill?", repeats)
        finally:
            chat.close()


def _added(chat: LocalChat, text: str, repeats: int) -> dict[str, float]:
    lang, llama = ChatMemOS(chat=chat, max_tokens=4), MemOSLLM(chat=chat, max_tokens=4)
    question, messages = [{"role": "user", "content": text}], [ChatMessage(text)]
    prompt, timed = chat.prompt(question), Timed()

    sampling, usage = Sampling(max_new_tokens=4), Usage()

    def first(stream: Any, count: int = 1) -> None:
        for _ in itertools.islice(stream, count):
            pass
        stream.close()

    first(chat.stream(prompt, sampling, usage=usage))  # and the memories are cached
    tokens = usage.output_tokens  # more than one where the first may begin a stop string
    chat.engine.tier.flush()
    assert chat.engine.cached(prompt) > len(prompt.tokens) / 2, "the memories are cached"
    assert chat.stats()["disk_pieces"] > 0, "and in the folder"
    for _ in range(repeats + 1):
        timed("engine", lambda: first(chat.engine.generate(prompt, sampling), tokens))
        timed("ChatMemOS", lambda: first(lang.stream(question)))
        timed("MemOSLLM", lambda: first(llama.stream_chat(messages)))
    base = statistics.median(timed.wall["engine"][1:])
    return {
        name: (statistics.median(timed.wall[name][1:]) - base) * 1e3
        for name in ("ChatMemOS", "MemOSLLM")
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", help="a hub id or a folder; by default the bundled model")
    which.add_argument("--shape", choices=SHAPES, help="random weights of a shape instead")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--contexts", type=int, nargs="*", default=CONTEXTS)
    parser.add_argument("--warm-only", action="store_true", help="leave out cold and by hand")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/first_token.json"))
    options = parser.parse_args()
    kind = {"dtype": options.dtype, "device": options.device}
    if options.shape:
        texts = "".join(SENTENCE.format(i=0, thing=thing) for thing in THINGS)
        model = shaped(options.shape, texts, **kind)
    else:
        model = CausalModel.load(options.model, **kind)
    rows: list[dict[str, Any]] = []
    for context in options.contexts:
        for question in QUESTIONS:
            with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
                where, warm = Path(folder), options.warm_only
                row = measure(model, where, context, question, options.repeats, warm_only=warm)
                rows.append(row)
    columns = (
        "cold",
        "build",
        "build median",
        "RAM",
        "floor",
        "by hand",
        "disk",
        "disk, dropped",
        "files, dropped",
    )
    show(
        f"Seconds to the first token of {model.name} ({options.dtype}, {model.device}), best of "
        f"{options.repeats}",
        [
            "memories",
            "question",
            *columns,
            "RAM / floor",
            "disk / RAM",
            "of medians",
            "share",
            "reduction",
            "of CPU",
        ],
        [
            [
                f"{row['memories']:,}",
                row["question"],
                *(f"{row[f'{name} s']:.3f}" if f"{name} s" in row else "" for name in columns),
                f"{row['RAM s'] / row['floor s']:.2f}",
                f"{row['disk s'] / row['RAM s']:.2f}",
                f"{row['disk median s'] / row['RAM median s']:.2f}",
                f"{row['share']:.1%}",
                *(f"{row[it]:.1%}" if it in row else "" for it in ("reduction", "cpu reduction")),
            ]
            for row in rows
        ],
    )
    extra = adapters(model, options.repeats)
    show(
        "Added by the frameworks, milliseconds to the first word (median)",
        ["", "added"],
        [[name, f"{value:.1f}"] for name, value in extra.items()],
    )
    reached = goals(rows, extra)
    show("Goals, by the worst row", ["", "goal", "here", ""], reached)
    figures = {"model": model.name, "rows": rows, "adapters": extra, "goals": reached}
    save(options.out, "first_token", figures)


if __name__ == "__main__":
    main()
