"""The right to be forgotten, with a receipt: ``python cookbook/erasure.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from memos_integrations import MemOS
from memos_integrations.errors import CubeNotFoundError


def main(folder: Path) -> None:
    """A customer asks that an address is forgotten; it was merged, copied and corrected before."""
    with MemOS.open(folder / "memory") as memory:
        desk = memory.session("support", namespace=("acme", "customers"))
        [home] = desk.add("Ann Verhoeven lives at 12 Kanaalstraat.", speaker="Ann Verhoeven")
        [diet] = desk.add("Ann is allergic to walnuts.")
        desk.update(home.id, "Ann Verhoeven lives at 99 Kanaalstraat.")
        profile = desk.merge([home.id, diet.id])
        desk.snapshot("before")
        desk.branch("what if")
        print("bytes hold the name:", holds(folder, b"Verhoeven"))

        print(shown(desk.forget(home.id, dry_run=True, reason="request 17")))
        receipt = desk.forget(home.id, reason="request 17")
        print("finished:", receipt.finished, "| also went:", len(receipt.derived), "derived")

        print("bytes hold the name:", holds(folder, b"Verhoeven"))
        for id in (home.id, profile.id):
            try:
                desk.get(id)
            except CubeNotFoundError:
                print("tombstone:", [(one.version, one.text) for one in desk.history(id)])
        print("as of then:", [cube.text for cube in desk.as_of("before").list()])
        print("it came from, and stays:", [desk.get(id).text for id in receipt.kept_sources])
        [kept] = desk.receipts()
        print("kept:", kept.reason, "by", kept.principal, "on", len(kept.memories), "memories")


def holds(folder: Path, words: bytes) -> bool:
    """Whether any file has these words in it."""
    return any(words in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def shown(receipt: object) -> str:
    """The first words of a receipt, without times and ids."""
    lines = str(receipt).splitlines()
    return "\n".join([lines[0].partition(",")[0], *(one for one in lines if "with them" in one)])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
