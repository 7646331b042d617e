"""Which relation stands between a new memory and an older one, by rules and one cosine.

:mod:`.statements` reads what a sentence says, :mod:`.relations` compares two memories,
:mod:`.grouping` draws topics and concepts over the facts. Nothing here touches a store.
"""
