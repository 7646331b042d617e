"""How a language model reads turns.

``asking`` speaks with models of both frameworks, ``prompting`` writes what they are asked,
``answers`` reads what they say however it comes, ``schema`` says what it may be, ``spans`` finds
the words it came from, ``times`` when it was so, ``grounding`` which turns it rests on,
``drafting`` makes memories of it, ``reading`` does it in batches within a budget, and ``report``
keeps what has come of it.
"""
