"""What composed prompts cost and save: memories joined in any order, against exact prefill.

``python benchmarks/composed.py [--model ID_OR_FOLDER] [--cases 240]``. Each case shows 5 to 10 of
60 memories in a random order and asks for one of them (*one*), or for what only two of them
together say (*two*); the prompt ends where the answer begins. Every memory is in the cache, as
read behind the header. One interleaved run:

- *full*: the model reads the whole prompt at once. Deviations are measured from this.
- *prefix*: the exact engine, which reads what another prompt began with as well.
- *naive*: segments joined where they stand, keys left turned as they were computed.
- *first*, *deviating*: composed prompts; the share of tokens read again, and how it is chosen.

The bundled model has a sliding window of 512 tokens. Its prompts stay below that, where sliding
attention is full attention (``within_window=True``). KL is from the exact next-token distribution,
in nats; *same* is the share of cases whose likeliest token is that of *full*; *right* the share
whose likeliest token begins the right answer.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _report import save, show

from memos_integrations.memories.activation.composed import Composer
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.rotary import Rotation
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.memories.block import CLOSING, NOTE, OPENING
from memos_integrations.models.causal import CausalModel

SHARES = (0.0, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0)
WORDS = """
Maya Jonas Ines Tomas Lena Viktor Amara Felix Nora Pablo Greta Samir
Oslo Utrecht Lisbon Prague Dublin Madrid Vienna Athens Turin Bergen Leeds Geneva
piano bicycle lamp violin kayak ladder telescope typewriter drill tent camera map
attic garage cellar kitchen office garden hallway bedroom library barn shed car
"""
PEOPLE, TOWNS, THINGS, PLACES = (line.split() for line in WORDS.strip().splitlines())


@dataclass(frozen=True)
class Memory:
    """A line of the block, and which memory it is."""

    text: str
    source: Source


@dataclass(frozen=True)
class Case:
    """A prompt and the answer's first token."""

    kind: str
    prompt: Prompt
    answer: int


def cases(model: CausalModel, count: int, seed: int = 0) -> list[Case]:
    """So many prompts, half of each kind."""
    rng = random.Random(seed)
    towns, things, places = (rng.sample(some, len(some)) for some in (TOWNS, THINGS, PLACES))
    friends = PEOPLE[1:] + PEOPLE[:1]
    lives = dict(zip(PEOPLE, towns, strict=True))
    owns = {one: both for one, *both in zip(PEOPLE, things, places, strict=True)}
    said: dict[tuple[str, str], str] = {}
    for one, friend in zip(PEOPLE, friends, strict=True):
        thing, place = owns[one]
        said["lives", one] = f"{one} said that after the long winter they moved to {lives[one]}."
        said["owns", one] = f"{one} keeps the old {thing} in the {place}, where it stays dry."
        said["friend", one] = f"The best friend of {one} is {friend}; they met on a night train."
        said["likes", one] = f"{one} drinks tea in the morning and never coffee, since the illness."
        said["work", one] = f"On Thursdays {one} works late, so dinner is at nine on that day."
    memories = {
        key: Memory(f"- 2026-{1 + i % 12:02}-{1 + i % 28:02} user: {text}\n", Source(f"m{i}", 1))
        for i, (key, text) in enumerate(said.items())
    }
    made: list[Case] = []
    for number in range(count):
        one = rng.choice(PEOPLE)
        friend = friends[PEOPLE.index(one)]
        if kind_two := number % 2 == 1:
            needed = [("friend", one), ("lives", friend)]
            asked, answer = f"In which town does the best friend of {one} live now?", lives[friend]
            begun = f"The best friend of {one} is {friend}, and {friend} lives in"
        else:
            thing, answer = owns[one]
            needed = [("owns", one)]
            asked, begun = f"Where is the {thing}?", f"The {thing} is in the"
        others = [key for key in memories if key not in needed]
        shown = [*needed, *rng.sample(others, rng.randint(5, 10) - len(needed))]
        rng.shuffle(shown)
        prompt = prompt_of(model, [memories[key] for key in shown], asked, begun)
        made.append(Case("two" if kind_two else "one", prompt, tokens(model, f" {answer}")[0]))
    return made


def tokens(model: CausalModel, text: str) -> list[int]:
    """Of a text that stands in the middle."""
    return model.encode(text, special=False)


def prompt_of(model: CausalModel, shown: list[Memory], asked: str, begun: str) -> Prompt:
    """The memories as the block shows them, the question, and how the answer begins."""
    ids = model.encode(f"{OPENING}\n{NOTE}\n")
    spans: list[Span] = []
    for memory in shown:
        start = len(ids)
        ids += tokens(model, memory.text)
        spans.append(Span(start, len(ids), memory.source))
    ids += tokens(model, f"{CLOSING}\n\nQuestion: {asked}\nAnswer: {begun}")
    return Prompt(tuple(ids), tuple(spans), salt="bench")


Reader = Callable[[Prompt], torch.Tensor]


def readers(model: CausalModel) -> dict[str, Reader]:
    """Every way to read a prompt; each gives the next token's logits."""
    exact, joined = ActivationEngine(model), ActivationEngine(model)

    def full(prompt: Prompt) -> torch.Tensor:
        with torch.inference_mode():
            ids = torch.tensor([prompt.tokens], device=model.device)
            return model.model(input_ids=ids, logits_to_keep=1).logits[0, -1].float()

    def through(what: Any) -> Reader:
        def read(prompt: Prompt) -> torch.Tensor:
            done = what.prefill(prompt)
            joined.tree.release(done.lease)
            return done.logits

        return read

    ways: dict[str, Reader] = {"full": full, "prefix": through(exact)}
    naive = Composer(joined, recompute=0, within_window=True)
    if naive.refused:
        raise SystemExit(f"{model.name}: {naive.refused}")
    naive._rotations = [Rotation(torch.empty(0)) for _ in naive._rotations]
    ways["naive"] = through(naive)
    for choose in ("first", "deviating"):
        for share in SHARES if choose == "first" else SHARES[1:-1]:
            composer = Composer(joined, recompute=share, choose=choose, within_window=True)
            ways[f"{choose} {share:g}"] = through(composer)
    return ways


def measure(model: CausalModel, made: list[Case]) -> dict[str, dict[str, Any]]:
    """Figures by way of reading."""
    ways = readers(model)
    for case in made:  # every memory is in the cache then
        ways["first 0"](case.prompt)
    seconds, kls, same, right = (defaultdict[str, list[float]](list) for _ in range(4))
    by_kind = defaultdict[str, dict[str, list[float]]](lambda: defaultdict(list))
    for number, case in enumerate([made[0], *made]):
        exact = torch.empty(0)
        for name, read in ways.items():
            began = time.perf_counter()
            logits = read(case.prompt)
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            took = time.perf_counter() - began
            if number == 0:  # warmed up
                continue
            found = logits.double().log_softmax(-1)
            exact = found if name == "full" else exact
            kl = float((exact.exp() * (exact - found)).sum().clamp_min(0))
            seconds[name].append(took)
            kls[name].append(kl)
            by_kind[name][case.kind].append(kl)
            same[name].append(bool(found.argmax() == exact.argmax()))
            right[name].append(int(found.argmax()) == case.answer)
    return {
        name: {
            "median s": statistics.median(seconds[name]),
            "of full": statistics.median(seconds[name]) / statistics.median(seconds["full"]),
            "mean KL": statistics.fmean(kls[name]),
            "median KL": statistics.median(kls[name]),
            **{
                f"mean KL, {kind}": statistics.fmean(by_kind[name][kind]) for kind in ("one", "two")
            },
            "same": statistics.fmean(same[name]),
            "right": statistics.fmean(right[name]),
        }
        for name in ways
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a hub id or a folder; by default the bundled model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device")
    parser.add_argument("--cases", type=int, default=240)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/composed.json"))
    options = parser.parse_args()
    model = CausalModel.load(options.model, dtype=options.dtype, device=options.device)
    made = cases(model, options.cases)
    lengths = sorted(len(case.prompt.tokens) for case in made)
    rows = measure(model, made)
    columns = list(rows["full"])
    show(
        f"{len(made)} prompts of {lengths[0]} to {lengths[-1]} tokens, 5 to 10 memories; "
        f"{model.name} ({options.dtype}, {model.device})",
        ["", *columns],
        [[name, *row.values()] for name, row in rows.items()],
    )
    about = {
        "model": model.name,
        "dtype": options.dtype,
        "device": str(model.device),
        "cases": len(made),
        "tokens": [lengths[0], lengths[len(lengths) // 2], lengths[-1]],
    }
    save(options.out, "composed", {**about, "rows": rows})


if __name__ == "__main__":
    main()
