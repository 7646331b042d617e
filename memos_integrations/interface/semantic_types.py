"""What kind of memory a text is: question, preference, task, event or fact, by rules in order."""

from __future__ import annotations

import re

from memos_integrations.interface.tense import PAST_VERBS

_QUESTION = re.compile(
    r"\?[\s\"'”’)\]*]*$"
    # "how many dogs do we have" needs no mark; "When I was young, ..." is no question.
    r"|^\W*(?:what|when|where|who|whom|whose|which|why|how)(?:['’]s"
    r"|(?:\s+(?!(?:i|you|he|she|it|we|they|the)\b)\w+){0,2}?"
    r"\s+(?:is|are|was|were|do|does|did|have|has|had|can|could|will|would|should|am))"
    r"\b(?!.*[.!]\s*$)",
    re.IGNORECASE | re.DOTALL,
)
_PREFERENCE = re.compile(
    r"\b(?:i|we)"
    r"(?:\s+(?:really|also|just|still|always|never|absolutely|totally|don['’]t|do not|do))*"
    r"\s+(?:like|love|prefer|hate|enjoy|adore|dislike|loathe|can['’]t stand|cannot stand)\b"
    r"|\bi(?:['’]d| would)(?:\s+(?:much|always))?\s+(?:prefer|rather)\b"
    r"|\b(?:my|our)\s+(?:\w+\s+)?favou?rites?\b"
    r"|\b(?:is|are)\s+(?:my|our)\s+favou?rites?\b"
    r"|\b(?:i\s+am|i['’]m|we\s+are|we['’]re)\s+(?:\w+\s+)?"
    r"(?:allergic|intolerant|vegan|vegetarian|fond of|keen on|into|a(?:\s+\w+)?\s+fan of)\b",
    re.IGNORECASE,
)
_TASK = re.compile(
    r"\b(?:remind\s+me|to-?do|needs?\s+to|have\s+to|has\s+to|don['’]t\s+forget|do\s+not\s+forget"
    r"|(?:please|must|should)\s+remember|remember\s+to|make\s+sure"
    r"|(?:i|we|you)\s+must\s+(?!have|be|feel|say|admit))\b",
    re.IGNORECASE,
)
_HAPPENS = re.compile(
    rf"\b(?:{PAST_VERBS}|\w{{2,}}ed|will|shall|going\s+to|gonna|plan(?:s|ning)?\s+to|starts?|opens?"
    r"|begins?)\b|['’]ll\b",
    re.IGNORECASE,
)

TYPES = (
    ("question", _QUESTION),
    ("preference", _PREFERENCE),
    ("task", _TASK),
)
"""The rules that need the words alone, in the order they are tried."""


def semantic_type(text: str, *, phrase: str = "") -> str:
    """Return the kind of ``text``; ``phrase`` is its time phrase, if one was found.

    A text with a time phrase is an event if something happened or will happen in it, or if the
    phrase has figures (a written date). What no rule fits is a fact.
    """
    for name, rule in TYPES:
        if rule.search(text):
            return name
    dated = any(letter.isdigit() for letter in phrase)
    return "event" if phrase and (dated or _HAPPENS.search(text)) else "fact"
