"""Pipelines from YAML, and their pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from memos_integrations import MemorySession
from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.pipeline import Pipeline
from memos_integrations.interface.pipelining.steps import REQUIRED

DIGEST = """
name: weekly digest
inputs: {topic: garden, most: 20}
steps:
  - name: found
    verb: search
    with: {query: $topic, limit: $most}
  - name: words
    verb: augment
    function: summarise
    with: {notes: $found}
    retries: 2
  - name: digest
    verb: merge
    with: {memories: $found, text: $words}
    when: $found
  - verb: freeze
    with: {memories: $digest}
    after: [words]
"""


def test_a_file_is_what_python_says(tmp_path: Path) -> None:
    path = tmp_path / "digest.yaml"
    path.write_text(DIGEST)
    assert Pipeline.load(path) == Pipeline.parse(DIGEST)
    said = (
        Pipeline("weekly digest", inputs={"topic": "garden", "most": 20})
        .search("$topic", name="found", limit="$most")
        .augment("summarise", name="words", notes="$found", retries=2)
        .merge("$found", name="digest", text="$words", when="found")
        .freeze("$digest", after="words")
    )
    assert Pipeline.load(path) == said
    assert Pipeline.parse("{name: p, inputs: [a], steps: [{verb: count}]}").inputs == {
        "a": REQUIRED
    }


def test_it_runs_with_functions_by_name(alice: MemorySession) -> None:
    alice.add(["the garden is dry", "the garden is green", "a piano"])
    pipeline = Pipeline.parse(DIGEST)
    run = alice.run(pipeline, {"most": 2}, functions={"summarise": lambda notes: f"{len(notes)}"})
    assert (run["digest"].text, run["freeze"][0].header.governance.frozen) == ("2", False)
    assert alice.get(run["digest"].id).state.value == "frozen"
    with pytest.raises(InvalidInputError, match="calls 'summarise'"):
        alice.run(pipeline)


STEP = "{verb: count}"
BAD = {
    "": "at the top",
    "- a\n- b": "at the top",
    "name: p": "steps: Field required",
    f"{{name: 7, steps: [{STEP}]}}": "name: Input should be a valid string",
    f"{{name: p, steps: [{STEP}], colour: red}}": "colour: Extra inputs",
    f"{{name: p, steps: {STEP}}}": "steps: Input should be a valid list",
    "{name: p, steps: []}": "has no steps",
    "{name: p, steps: [{verb: fly}]}": "no verb 'fly'",
    "{name: p, steps: [{verb: count, with: [1]}]}": "steps.0.with: Input should be a valid dict",
    "{name: p, steps: [{verb: count, retries: many}]}": "steps.0.retries",
    "{name: p, steps: [{verb: count, retries: true}]}": "steps.0.retries",
    "{name: p, steps: [{verb: count, retries: 99}]}": "use 0 to 20",
    "{name: p, steps: [{verb: augment}]}": "give a function",
    "{name: p, steps: [{verb: augment, function: os.system}]}": "give a function",
    "{name: p, steps: [{verb: search, with: {query: $who}}]}": "needs 'who'",
    f"{{name: p, steps: [{STEP}, {STEP}]}}": "used twice",
    "{name: p, steps: [{verb: get, with: {memory: $get}}]}": "wait for each other",
    "name: p\nname: q": "the key 'name' is given twice",
    "a: &x [1]\nb: *x": "aliases",
    "a: !!python/object/apply:os.system [ls]": "could not determine a constructor",
    "a: [": "no YAML",
    "a: 2026-02-31": "a value that is none",
    "a: \x00": "no YAML",
    "[" * 5_000: "nested too deeply",
    "x" * 1_000_001: "at most 1,000,000",
}


@pytest.mark.parametrize(("text", "said"), BAD.items(), ids=range(len(BAD)))
def test_what_is_no_pipeline_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Pipeline.parse(text)
    assert said in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    latin, huge = tmp_path / "latin.yaml", tmp_path / "huge.yaml"
    latin.write_bytes(b"name: caf\xe9")
    huge.write_bytes(b" " * 1_000_001)
    for path, said in (
        (tmp_path / "none.yaml", "cannot be read"),
        (tmp_path, "cannot be read"),
        (latin, "not in UTF-8"),
        (huge, "larger than"),
        (7, "give the path"),
        ("\0", "give the path"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            Pipeline.load(path)  # type: ignore[arg-type]


def test_pictures(tmp_path: Path) -> None:
    pipeline = Pipeline.parse(DIGEST)
    svg, again = pipeline.save(tmp_path / "a.svg"), pipeline.save(tmp_path / "b.svg")
    assert svg.read_bytes() == again.read_bytes()
    assert svg.read_text().lstrip().startswith("<?xml")
    assert pipeline.save(tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")
    assert pipeline.save(tmp_path / "a.mmd").read_text() == pipeline.mermaid()
    chart = pipeline.mermaid().splitlines()
    assert chart[0] == "flowchart LR"
    assert (
        '    n2(["found · search<br/>query#58; #36;topic<br/>limit#58; #36;most"]):::read' in chart
    )
    assert "    n2 --> n3" in chart
    assert "    n3 -. after .-> n5" in chart
    for name in ("a.pdf", "a", "no/such/folder.svg", "no/such/folder.mmd"):
        with pytest.raises(InvalidInputError):
            pipeline.save(tmp_path / name)


def test_yaml_is_loaded_when_it_is_needed() -> None:
    code = (
        "import memos_integrations.session, sys; print({'yaml', 'matplotlib'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
