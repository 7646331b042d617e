"""What did we know then, and how to get back: ``python cookbook/time_travel.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile

from memos_integrations import MemorySession, MemOS


def says(title: str, session: MemorySession) -> None:
    """What a session answers."""
    [hit, *_] = session.search("When does the team meet?")
    print(f"{title}: {hit.cube.text} (version {hit.cube.version})")


def main(folder: str) -> None:
    """A plan changes, is looked up as it was, and comes back."""
    with MemOS.open(folder) as memory:
        team = memory.session("team")
        plan = team.add("The team meets on Mondays at nine.")[0]
        guest = team.add("Jonas joins the team for May.")[0]
        team.snapshot("spring")

        team.update(plan.id, "The team meets on Thursdays at ten.")
        team.delete(guest.id)
        team.add("The office moves to the harbour.")

        says("today", team)
        says("in spring", team.as_of("spring"))
        for change in team.diff("spring"):
            before = change.before.text if change.before else "-"
            after = change.after.text if change.after else "-"
            print(f"{change.kind}: {before} -> {after}")

        team.rollback("spring", ids=[plan.id, guest.id])
        says("rolled back", team)
        print("Jonas is back:", team.get(guest.id).text)
        for cube in team.history(plan.id):
            print(f"  version {cube.version}: {cube.text}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(scratch)
