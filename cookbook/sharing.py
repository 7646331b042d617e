"""Who may read what, and until when: ``python cookbook/sharing.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memos_integrations import MemorySession, MemOS, Principal
from memos_integrations.errors import AccessDeniedError


def main(folder: Path) -> None:
    """A patient lets nurses read what is medical, one of them lets her deputy; then it is over."""
    with MemOS.open(folder / "memory") as os:
        os.govern("clinic", homes=[("clinic", "{principal}")])
        ann = os.session("ann", namespace=("clinic", "ann"))
        ann.add("I take aspirin every morning.", tags=["medical"])
        ann.add("My password manager is on the blue laptop.")
        ann.add("The ward's visiting hours are from two to five.", access="shared")

        def visiting(who: str, *roles: str, purpose: str | None = None) -> MemorySession:
            """Somebody else's session in Ann's namespace."""
            principal = Principal(id=who, roles=roles)
            return os.session(principal, namespace=("clinic", "ann"), purpose=purpose)

        show("before any grant, a nurse", visiting("nina", "nurse"))

        tomorrow = datetime.now(UTC) + timedelta(days=1)
        grant = ann.grant(
            role="nurse",
            rights=["read", "share"],
            tag="medical",
            purpose="care",
            expires_at=tomorrow,
        )
        nina = visiting("nina", "nurse", purpose="care")
        show("with it, a nurse who cares for her", nina)
        show("a nurse without that purpose", visiting("nina", "nurse"))

        nina.grant("dora", "read", tag="medical", purpose="care")
        show("her deputy", visiting("dora", purpose="care"))
        try:
            nina.add("Ann may have aspirin twice a day.", tags=["medical"])
        except AccessDeniedError as error:
            print(f"writing: {error}")

        ann.revoke(grant)
        show("revoked, the nurse", nina)
        show("and her deputy", visiting("dora", purpose="care"))
        print(
            "ann's log:",
            ", ".join(entry.verb for entry in reversed(ann.log(verb=["add", "grant", "revoke"]))),
        )


def show(who: str, session: MemorySession) -> None:
    """What somebody finds."""
    found = sorted(hit.cube.text for hit in session.search("aspirin, laptop, visiting hours"))
    print(f"{who}: {found}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
