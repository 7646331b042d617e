"""From mem0 to here, and on to another folder: ``python cookbook/moving_house.py [FOLDER]``."""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from pathlib import Path

from memos_integrations import MemOS


def mem0_leaves(folder: Path) -> tuple[Path, Path]:
    """What mem0 2.x gives: ``json.dumps(memory.get_all(...))``, and its ``history.db``."""
    memories = [
        ("6f1c", "Ann lives in Bergen", "2026-03-01T09:00:00+00:00", "2026-05-04T18:30:00+00:00"),
        ("91ab", "Ann is allergic to walnuts", "2026-03-02T10:00:00+00:00", None),
    ]
    results = [
        {
            "id": f"{short}0000-0000-4000-8000-000000000000",
            "memory": text,
            "hash": "d41d8cd98f00b204e9800998ecf8427e",
            "created_at": made,
            "updated_at": changed or made,
            "user_id": "ann",
            "metadata": {"category": "personal"},
        }
        for short, text, made, changed in memories
    ]
    export, history = folder / "mem0.json", folder / "history.db"
    export.write_text(json.dumps({"results": results}))
    with sqlite3.connect(history) as bare:
        bare.execute(
            "CREATE TABLE history (id TEXT PRIMARY KEY, memory_id TEXT, old_memory TEXT, "
            "new_memory TEXT, event TEXT, created_at DATETIME, updated_at DATETIME, "
            "is_deleted INTEGER, actor_id TEXT, role TEXT)"
        )
        home, made, changed = results[0]["id"], *memories[0][2:]
        oslo, bergen = "Ann lives in Oslo", memories[0][1]
        steps = [
            ("1", home, None, oslo, "ADD", made, None, 0, None, None),
            ("2", home, oslo, bergen, "UPDATE", made, changed, 0, None, None),
        ]
        bare.executemany(f"INSERT INTO history VALUES ({', '.join('?' * 10)})", steps)
    bare.close()
    return export, history


def main(folder: Path) -> None:
    """Ann's memories come from mem0 with their history, and move on as one file."""
    folder.mkdir(parents=True, exist_ok=True)
    export, history = mem0_leaves(folder)
    with MemOS.open(folder / "first") as os:
        ann = os.session("ann")
        print("imported:", ann.import_from("mem0", export, history=history).added)
        print("again:", ann.import_from("mem0", export, history=history).unchanged, "as they were")
        home = ann.search("Where does Ann live?", limit=1)[0].cube
        about = home.header.descriptive
        print(f"{home.text} | from {about.source} | origin {about.origin}")
        print("before:", [one.text for one in ann.history(home.id)])
        print("dumped:", ann.dump(folder / "ann.memcube").versions, "versions")
    with MemOS.open(folder / "second") as os:
        ann = os.session("ann")
        print("would be added:", ann.load(folder / "ann.memcube", dry_run=True).added)
        print("added:", ann.load(folder / "ann.memcube").added)
        print("loaded again:", ann.load(folder / "ann.memcube").unchanged, "as they were")
        print("the same id and history:", [one.version for one in ann.history(home.id)])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
