"""Which memories should be held where: a pure function of what happened and what may be spent.

:mod:`.events` in, :mod:`.actions` out, :class:`.planner.Planner` between them. It reads no clock,
no file and no chance, so a trace can be replayed, and gives the same actions each time.
"""
