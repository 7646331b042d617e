"""MemDumper and MemLoader: memories as a portable archive, and back."""
