"""MemStore: memories published as signed packages, and followed by who subscribes."""
