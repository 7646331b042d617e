"""Where does this come from, and what came of it: ``python cookbook/lineage.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from memos_integrations import MemOS


def main(folder: Path) -> None:
    """A plan is corrected, merged with another and corrected again; then somebody asks."""
    with MemOS.open(folder / "memory") as memory:
        team = memory.session("team")
        mail = {"role": "user", "speaker": "Ann", "id": "mail-7"}
        [plan] = team.add({**mail, "content": "The team meets on Mondays at nine."})
        [room] = team.add("Meetings are in the blue room.", speaker="Jonas", source="wiki")
        team.update(plan.id, "The team meets on Thursdays at nine.")
        team.archive(room.id, reason="the house was rebuilt")
        team.restore(room.id)
        both = team.merge([plan.id, room.id])
        team.update(both.id, both.text.replace("blue room", "harbour office"))

        [hit, *_] = team.search("When and where does the team meet?")
        team.record_uses([hit], prompt="run-1")
        print("why:")
        for step in team.why(hit):
            print(f"  {step}")

        print("who brought which words:")
        for span in team.blame(both.id):
            print(f"  {span.text!r}: {span.verb} by {span.principal}, version {span.version}")

        print("what changed:", team.compare(both.id, 1).parts[1:-1])
        print("what came of the mail:")
        for made in team.impact(plan.id).memories:
            print(f"  {made}")
        print("where it stood:", [use.prompt for use in team.impact(both.id).prompts])
        for step in team.life(room.id):
            print(f"  {step.verb}: {step.before} to {step.after} ({step.reason})")

        for name in ("lineage.svg", "lineage.html", "lineage.json"):
            print("written:", team.save_lineage(both.id, folder / name).name)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
