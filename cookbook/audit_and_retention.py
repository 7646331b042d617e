"""Who saw what, and how long it is kept: ``python cookbook/audit_and_retention.py [FOLDER]``.

A support desk keeps its calls for 90 days, but for those of a case; an auditor checks the log
against a head that was signed and kept elsewhere.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memos_integrations import MemOS
from memos_integrations.errors import AccessDeniedError, LegalHoldError
from memos_integrations.testing import FakeClock


def main(folder: Path) -> None:
    """Ninety days in a moment: the clock is set."""
    clock = FakeClock()
    with MemOS.open(folder / "memory", clock=clock) as memory:
        memory.govern("root", homes=[("acme", "{principal}")])
        law = memory.session("root", namespace=("acme", "law"))
        print(law.space("expert"))
        law.add("Refunds are due within fourteen days.")

        desk = memory.session("desk", namespace=("acme", "desk"))
        calls = desk.add(["Ann asked for a refund.", "Bob asked for the opening hours."])
        desk.retain(ttl=timedelta(days=90), reason="policy 4")
        counsel = memory.session("root", namespace=("acme",))
        hold = memory.session("root", namespace=("acme", "desk")).hold(
            id=calls[0].id, reason="case 7"
        )
        key = Ed25519PrivateKey.generate()  # lies with the auditor
        anchor = counsel.audit_head(sign_with=key)

        clock.advance(days=90)
        print("found:", [hit.cube.text for hit in desk.search("what was asked?")])
        print("due:", [one.rule.reason for one in desk.sweep(dry_run=True).due])
        receipt = desk.sweep(erase=True).receipt
        assert receipt is not None
        print("erased:", len(receipt.memories), "finished:", receipt.finished)
        try:
            desk.forget(calls[0].id)
        except LegalHoldError as error:
            print("held:", str(error).rpartition("(")[2].partition(", ")[2].rstrip(")"))
        try:
            desk.lift(hold)
        except AccessDeniedError as error:
            print("refused:", error)

        for entry in reversed(counsel.audit(principal="desk", limit=4)):
            print(entry.verb, entry.decision, len(entry.memories), "memories")
        print(bool(counsel.verify_audit(anchor=anchor, signed_by=key.public_key())))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
