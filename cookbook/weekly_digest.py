"""Many notes become one memory, or nothing does: ``python cookbook/weekly_digest.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from memos_integrations import MemCube, MemOS
from memos_integrations.errors import PipelineError
from memos_integrations.interface.pipeline import Pipeline

FILE = """
name: weekly digest
inputs: {most: 50}
steps:
  - name: notes
    verb: list
    with: {limit: $most, filters: {tags: week, state: {$in: [generated, activated]}}}
  - name: words
    verb: augment
    function: summarise          # by name: a file holds no code
    with: {notes: $notes}
    when: $notes
    retries: 2
  - name: digest
    verb: merge
    with: {memories: $notes, text: $words}
  - name: filed
    verb: update
    with: {memory: $digest, tags: [digest], priority: 8}
"""


def summarise(notes: Sequence[MemCube]) -> str:
    """Here a language model would be asked; other writers do not wait for its answer."""
    return f"{len(notes)} notes of this week: " + " ".join(note.text for note in notes)


def offline(notes: Sequence[MemCube]) -> str:
    """The same on a bad day."""
    raise ConnectionError("no model today")


def main(folder: Path) -> None:
    """A plan, a run that fails as a whole, one that succeeds, and what it left behind."""
    pipeline = Pipeline.parse(FILE)
    with MemOS.open(folder / "memory") as os:
        ann = os.session("ann")
        ann.add(["The roof leaks.", "The roofer comes on Friday."], tags=["week"])

        plan = ann.run(pipeline, functions={"summarise": summarise}, dry_run=True)
        print("would write:", plan["filed"].text)
        try:
            ann.run(pipeline, functions={"summarise": offline})
        except PipelineError as error:
            print("failed:", error)
        print("memories as before:", [cube.text for cube in ann.list()])

        run = ann.run(pipeline, functions={"summarise": summarise})
        for step in run.steps:
            print(f"{step.name}: {step.verb}, read {len(step.read)}, wrote {len(step.wrote)}")
        print("found now:", [hit.cube.text for hit in ann.search("roof")])
        print("one activity:", [entry.verb for entry in ann.log()])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
