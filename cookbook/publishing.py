"""Publish memories, follow them, trace their words: ``python cookbook/publishing.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memos_integrations import MemOS
from memos_integrations.errors import FrozenCubeError, PackageError


def main(folder: Path) -> None:
    """A bakery publishes what it knows; a café follows, gets what is new, and leaves again."""
    key, shop = Ed25519PrivateKey.generate(), folder / "shop"
    with MemOS.open(folder / "bakery") as bakery, MemOS.open(folder / "cafe") as cafe:
        baker, waiter = bakery.session("baker"), cafe.session("waiter")
        rye = baker.add("Rye bread keeps for a week in a linen bag.")[0]
        baker.add("Croissants are best within four hours.")
        about = {"licence": "CC-BY-4.0", "description": "How to keep bread", "tags": ["bread"]}
        first = baker.publish(shop, "bread", version="1.0", key=key, **about)

        offer = waiter.packages(shop, "how long does bread stay fresh?")[0]
        print("offered:", offer.name, offer.version, offer.licence, offer.memories, "memories")
        print("followed:", waiter.subscribe(shop, "bread", publisher=first.publisher).added)
        hit = waiter.search("How long does rye bread keep?", limit=1)[0].cube
        print("known now:", hit.text.encode("ascii", "ignore").decode(), "| origin", end=" ")
        print(hit.header.descriptive.origin)
        try:
            waiter.update(hit.id, "Rye bread keeps for a year.")
        except FrozenCubeError:
            print("read-only: yes")

        baker.update(rye.id, "Rye bread keeps for ten days in a linen bag.")
        baker.publish(shop, "bread", version="1.1", key=key, **about)
        done = waiter.pull("bread")
        print(f"pulled: {done.version}, {done.updated} updated, {done.fetched} fetched")

        copied = f"From a web page: {waiter.get(hit.id).text} Good to know."
        print("traced:", [one.package for one in waiter.trace(copied)])
        forged = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
        try:
            cafe.session("other").subscribe(shop, "bread", publisher=forged)
        except PackageError:
            print("another publisher's key: refused")

        menu = waiter.branch("new menu")  # a copy of what is known, to try things out
        receipt = waiter.unsubscribe("bread")
        print("gone:", len(receipt.ids), "| left:", waiter.count(), end=" ")
        print("| copies marked:", {tag for one in menu.list() for tag in one.tags})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
