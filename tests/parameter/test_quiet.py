"""An adapter that is trained in damped directions moves other texts less."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from memos_integrations import MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.parameter.lora import LoraShape, fresh, layers_of
from memos_integrations.memories.parameter.probing import drift
from memos_integrations.memories.parameter.quiet import damping, second_moments
from memos_integrations.memories.parameter.reading import Read
from memos_integrations.memories.parameter.students import LoraStudent
from memos_integrations.memories.parameter.targets import targets
from memos_integrations.memories.parameter.texts import Lesson, lessons, source_of
from memos_integrations.memories.parameter.training import Schedule, train
from memos_integrations.memories.parameter.unrelated import unrelated
from memos_integrations.testing import WordEmbedder
from tests.parameter.words import FACTS, build

SAID = (
    Read((1, 5, 6, 7, 8), 1),
    Read((1, 9, 10), 1),
    Read((1, 11, 12, 13), 1),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A tiny model on several threads waits for them more than it computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_directions_that_others_use_are_damped() -> None:
    energies = torch.tensor([4.0, 1.0, 0.0])
    turned, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))
    made = damping(turned @ energies.diag() @ turned.T, 0.5)
    share = 0.5 * energies.mean()
    expected = turned @ (1 / (1 + energies / share).sqrt()).diag() @ turned.T
    assert torch.allclose(made, expected, atol=1e-5)
    assert torch.allclose(made @ turned[:, 2], turned[:, 2], atol=1e-5), "unused: left as it is"


def test_moments_are_of_all_tokens_but_the_first_of_each_text() -> None:
    model = build()
    [layer, *_] = layers_of(fresh(model.model, LoraShape(rank=1, skip=0.0), 0))
    seen: list[torch.Tensor] = []
    hook = model.model.get_submodule(layer).register_forward_pre_hook(
        lambda _, given: seen.append(given[0][0, 1:].detach())
    )
    with torch.inference_mode():
        for one in SAID:
            model.model(input_ids=torch.tensor([one.tokens]))
    hook.remove()
    x = torch.cat(seen)
    found = second_moments(model, [layer], SAID)[layer]
    assert torch.allclose(found, x.T @ x / len(x), atol=1e-4)
    assert not model.model.get_submodule(layer)._forward_pre_hooks, "the model is left alone"


def test_layers_that_read_the_same_have_one_moment_and_one_damping() -> None:
    model, shape = build(), LoraShape(rank=2, skip=0.0)
    layers = layers_of(fresh(model.model, shape, 0))
    texts = [*SAID * 10]  # more than one batch
    found = second_moments(model, layers, texts)
    assert len(layers) == 21 and len({id(one) for one in found.values()}) == 12
    alone = {one: second_moments(model, [one], texts)[one] for one in layers}
    assert all(torch.equal(found[one], alone[one]) for one in layers)
    named = {one.rsplit(".", 1)[-1]: found[one] for one in layers if ".1." in one}
    assert named["q_proj"] is named["k_proj"] is named["v_proj"] is not named["gate_proj"]
    assert named["gate_proj"] is named["up_proj"] is not named["down_proj"]
    student = LoraStudent.fresh(model, shape, 0, texts)
    buffers = student._view.model.named_buffers(remove_duplicate=False)
    by = {name: one for name, one in buffers if name.endswith(".by")}
    assert len(by) == 21 and len({one.data_ptr() for one in by.values()}) == 12
    for layer in layers:
        [own] = [one for name, one in by.items() if name.startswith(f"{layer}.lora_A")]
        assert torch.equal(own, damping(alone[layer], shape.quiet))


def test_layers_that_read_the_same_in_some_texts_only_are_refused() -> None:
    model = build()
    calls: list[int] = []

    def own(_: object, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        calls.extend([1] * (len(given[0]) > 1))  # a batch, and no trial
        return given if len(calls) < 2 else (given[0].clone(),)

    layers = [f"model.layers.1.self_attn.{one}_proj" for one in "qk"]
    model.model.get_submodule(layers[1]).register_forward_pre_hook(own)
    with pytest.raises(InvalidInputError, match="quiet=0"):
        second_moments(model, layers, [*SAID * 20])


def test_what_is_kept_is_what_the_student_was() -> None:
    model, shape = build(), LoraShape(rank=2)
    student = LoraStudent.fresh(model, shape, 0, SAID)
    with torch.no_grad():
        for weight in student.weights.values():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))
    again = LoraStudent(model, shape, student.tensors())
    with torch.inference_mode():
        pairs = zip(student.logits(SAID), again.logits(SAID), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    bare = LoraStudent.fresh(model, LoraShape(rank=2, quiet=0.0), 0, SAID)
    assert bare.tensors().keys() == student.tensors().keys()


def test_other_texts_are_moved_less_for_the_same_lessons(tmp_path: Path) -> None:
    """Both learn the lessons as well; what is damped has moved the others less than half as far."""
    model = build()
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as store:
        cubes = store.session("maya").add(list(FACTS))
    about = {source_of(one): one for one in cubes}
    taught = targets(model, [one for cube in cubes for one in lessons(cube)], about)
    kept = targets(model, unrelated("trained"), {})
    measured = targets(model, [Lesson("", "The river rises in hills and reaches sea.")], {})
    found = {}
    for quiet in (0.0, 0.05):
        shape = LoraShape(rank=4, alpha=8, quiet=quiet)
        student = LoraStudent.fresh(model, shape, 0, [one.text for one in kept])
        schedule = Schedule(rounds=15, batch=8, others=1, other_weight=0.0, sampled=16)
        done = train(student, taught, kept, schedule)
        found[quiet] = done.loss, drift(student.mind(), measured)
    assert found[0.05][0] < 2 * found[0.0][0] + 0.05
    assert found[0.05][1] < found[0.0][1] / 2, found


@pytest.mark.parametrize("quiet", [-0.1, float("nan"), float("inf")])
def test_a_share_is_a_number_from_0_on(quiet: float) -> None:
    with pytest.raises(InvalidInputError, match="quiet is"):
        LoraShape(quiet=quiet)
