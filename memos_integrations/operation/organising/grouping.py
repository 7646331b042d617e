"""Topics over concepts over facts, as a graph: the tree in which a person finds memories.

A concept is a subject with a family of attributes; a topic is a community of concepts that share
entities or links (Clauset, Newman and Moore, *Finding community structure in very large networks*,
Phys. Rev. E 70, 066111, 2004; :func:`networkx.algorithms.community.greedy_modularity_communities`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations

import networkx as nx

from memos_integrations.operation.organising.memo import Memo

_FAMILY_WORDS = {
    "home": "lives in|address|birthplace|hometown|rent",
    "work": "works at|job|employer|salary|boss|manager|studies",
    "tastes": "likes|prefers|favourite|diet|allergic to|eat|drink|afraid of",
    "people": "name|partner|is|age|birthday",
    "belongings": "has|drives|bought|own",
    "contact": "phone number|email",
    "plans": "when|wants",
}
_FAMILIES = {word: name for name, words in _FAMILY_WORDS.items() for word in words.split("|")}
MOST_SHARED = 40
"""An entity in more concepts than this ties none of them together."""


def group(memos: Mapping[str, Memo], links: Iterable[tuple[str, str]] = ()) -> nx.DiGraph[str]:
    """Edges lead from a topic to its concepts and from a concept to its facts (the keys given).

    ``links`` are pairs of keys that belong together for any other reason. Every node has ``kind``
    ("topic", "concept" or "fact") and ``label``. The same memories always give the same graph.
    """
    concepts: dict[str, list[str]] = defaultdict(list)
    for key in sorted(memos):
        concepts[_concept(memos[key])].append(key)
    graph: nx.DiGraph[str] = nx.DiGraph()
    for number, members in enumerate(_communities(concepts, memos, links), 1):
        topic = f"topic:{number}"
        graph.add_node(topic, kind="topic", label=_topic_label(members, concepts, memos))
        for name in members:
            _add_concept(graph, topic, name, concepts[name], memos)
    return graph


def _add_concept(
    graph: nx.DiGraph[str], topic: str, name: str, keys: list[str], memos: Mapping[str, Memo]
) -> None:
    node = f"concept:{name}"
    graph.add_node(node, kind="concept", label=name)
    graph.add_edge(topic, node)
    for key in keys:
        graph.add_node(f"fact:{key}", kind="fact", label=memos[key].text, key=key)
        graph.add_edge(node, f"fact:{key}")


def _concept(memo: Memo) -> str:
    """``maya: tastes``; without a subject the first entity, or the rarest-looking word."""
    for one in memo.statements:
        if one.subject not in ("?", ""):
            family = _FAMILIES.get(one.attribute) or _FAMILIES.get(one.attribute.split(" ")[0])
            timed = one.attribute.endswith(" when")
            return f"{one.subject}: {'plans' if timed else family or 'other'}"
        if one.subject == "" and one.attribute:
            return one.attribute.removesuffix(" when").removesuffix(" where")
    if memo.entities:
        return min(memo.entities)
    return max(memo.words, key=lambda word: (len(word), word), default="other")


def _communities(
    concepts: Mapping[str, list[str]], memos: Mapping[str, Memo], links: Iterable[tuple[str, str]]
) -> list[list[str]]:
    """Concepts that belong together, each list sorted, the largest first."""
    ties: nx.Graph[str] = nx.Graph()
    ties.add_nodes_from(sorted(concepts))
    for pair, weight in sorted(_ties(concepts, memos, links).items()):
        ties.add_edge(*pair, weight=weight)
    if not ties.number_of_edges():
        return [[name] for name in sorted(concepts)]
    found = nx.community.greedy_modularity_communities(ties, weight="weight")
    return sorted((sorted(members) for members in found), key=lambda m: (-len(m), m))


def _ties(
    concepts: Mapping[str, list[str]], memos: Mapping[str, Memo], links: Iterable[tuple[str, str]]
) -> Counter[tuple[str, str]]:
    """How often two concepts share an entity or are linked."""
    home = {key: name for name, keys in concepts.items() for key in keys}
    where: dict[str, set[str]] = defaultdict(set)
    for key, name in home.items():
        for entity in memos[key].entities:
            where[entity].add(name)
    ties: Counter[tuple[str, str]] = Counter()
    for names in where.values():
        if len(names) <= MOST_SHARED:
            ties.update(combinations(sorted(names), 2))
    for one, other in links:
        if one in home and other in home and home[one] != home[other]:
            ties[min(home[one], home[other]), max(home[one], home[other])] += 1
    return ties


def _topic_label(
    members: list[str], concepts: Mapping[str, list[str]], memos: Mapping[str, Memo]
) -> str:
    """The entities that most of its facts name."""
    counted = Counter(
        entity for name in members for key in concepts[name] for entity in memos[key].entities
    )
    common = sorted(counted, key=lambda entity: (-counted[entity], entity))[:2]
    return ", ".join(common) or members[0]
