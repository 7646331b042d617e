"""The perplexity of unrelated texts in a report: what it is, and reports that do not have it."""

from __future__ import annotations

import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from memos_integrations import MemOS
from memos_integrations.cli.parameter_command import _list, _report
from memos_integrations.memories.parameter.gate import Report
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.probing import moved
from memos_integrations.memories.parameter.reading import Mind
from memos_integrations.memories.parameter.students import LoraStudent
from memos_integrations.memories.parameter.targets import targets
from memos_integrations.memories.parameter.texts import Lesson
from memos_integrations.testing import WordEmbedder
from tests.parameter.words import FACTS, HOW, build

TEXTS = ("The river rises in hills and reaches sea.", "Tell me about France.")


def test_perplexity_is_what_the_losses_of_transformers_say() -> None:
    model = build()
    others = targets(model, [Lesson("", one) for one in TEXTS], {})
    losses, count = 0.0, 0
    for one in others:
        ids = torch.tensor([one.text.tokens])
        labels = ids.clone()
        labels[0, : one.text.start] = -100
        with torch.no_grad():
            losses += float(model.model(input_ids=ids, labels=labels).loss) * one.text.learned
        count += one.text.learned
    expected = math.exp(losses / count)
    same = moved(Mind(model), others)
    assert same.bare_perplexity == pytest.approx(expected, rel=1e-4)
    assert same.perplexity == pytest.approx(expected, rel=1e-4)
    assert same.drift == pytest.approx(0, abs=1e-4)
    student = LoraStudent.fresh(model, LoraShape(rank=2), 0)
    with torch.no_grad():
        for weight in student.weights.values():
            weight.add_(0.5)
    other = moved(student.mind(), others)
    assert other.bare_perplexity == same.bare_perplexity
    assert abs(other.perplexity - expected) > 0.01 < other.drift


def test_a_report_of_an_older_release_is_read(tmp_path: Path) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as store:
        maya = store.session("maya")
        maya.distill(maya.add(list(FACTS)), model=build(), how=HOW)
        [note] = maya.adapters()
        report = note.cube.metadata["report"]
        assert report["bare_perplexity"] > 1 < report["perplexity"]
        shown = _shown(note, report)
        assert shown.count(f"{report['bare_perplexity']:.4g} → {report['perplexity']:.4g}") == 2
    older = {name: one for name, one in report.items() if "perplexity" not in name}
    read = Report(**older)
    assert read.perplexity is None and read.bare_perplexity is None
    cube = SimpleNamespace(id=note.cube.id, payload=note.cube.payload, metadata={"report": older})
    shown = _shown(SimpleNamespace(cube=cube, sources=note.sources, outdated=()), older)
    assert "lora" in shown and "→" not in shown


def _shown(note: object, report: dict[str, Any]) -> str:
    out = Console(file=io.StringIO(), width=200)
    _report(out, "an id", report)
    _list(out, [note])  # type: ignore[list-item]
    return out.file.getvalue()  # type: ignore[attr-defined,no-any-return]
