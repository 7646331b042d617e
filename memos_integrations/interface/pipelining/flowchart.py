"""A pipeline as a graph, and as a Mermaid flowchart: https://mermaid.js.org/syntax/flowchart.html"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx

from memos_integrations.infrastructure.prov_export.mermaid import escaped
from memos_integrations.interface.pipelining.steps import AUGMENT, REQUIRED, Step
from memos_integrations.interface.pipelining.verbs import VERBS

KINDS = {
    "input": "an input",
    "read": "reads memories",
    "augment": "calls a function",
    "write": "changes memories",
}
_SHAPE = {"input": '[/"{}"/]', "read": '(["{}"])', "augment": '{{{{"{}"}}}}', "write": '["{}"]'}
_STYLES = (
    "classDef input fill:#f1f1f1,stroke:#8a8a8a,color:#1c2430",
    "classDef read fill:#eaf1fb,stroke:#2f5f9e,color:#1c2430",
    "classDef augment fill:#fff3d9,stroke:#a96f12,color:#1c2430",
    "classDef write fill:#e5f3ea,stroke:#2c7a4b,color:#1c2430",
)


def graph_of(inputs: Mapping[str, Any], steps: Sequence[Step]) -> nx.DiGraph[str]:
    """Inputs and steps, in the order of a run; each edge leads from the earlier thing to the later.

    Nodes have ``what`` (one of :data:`KINDS`) and ``lines``; edges have ``how``: ``""`` for what is
    handed on, ``when`` and ``after``.
    """
    graph: nx.DiGraph[str] = nx.DiGraph()
    for name, default in inputs.items():
        more = [] if default is REQUIRED else [f"default: {default!r}"]
        graph.add_node(name, what="input", lines=[f"${name}", *more])
    for step in steps:
        what = AUGMENT if step.verb == AUGMENT else VERBS[step.verb].kind
        graph.add_node(step.name, what=what, lines=_lines(step))
        for name in step.needs:
            graph.add_edge(name, step.name, how=_how(step, name))
    return graph


def _lines(step: Step) -> list[str]:
    verb = step.verb
    if verb == AUGMENT:
        named = isinstance(step.function, str)
        verb = step.function if named else getattr(step.function, "__name__", "a function")
        verb = f"calls {verb}"
    given = [f"{name}: {_shown(step, name)}" for name in step.arguments]
    tries = [f"tried up to {step.retries + 1} times"] if step.retries else []
    return [step.name if step.name == verb else f"{step.name} · {verb}", *given, *tries]


def _shown(step: Step, name: str) -> object:
    """An argument; of a model its kind alone: what it prints of itself may hold its key."""
    value = step.arguments[name]
    is_model = step.verb != AUGMENT and name == VERBS[step.verb].asks and not isinstance(value, str)
    return type(value).__name__ if is_model else value


def _how(step: Step, name: str) -> str:
    if name in step.uses:
        return ""
    return "when" if name == step.when else "after"


def flowchart(graph: nx.DiGraph[str]) -> str:
    """A pipeline's graph as a Mermaid flowchart, from left to right."""
    number = {node: f"n{place}" for place, node in enumerate(graph)}
    lines = ["flowchart LR"]
    for node, about in graph.nodes(data=True):
        label = "<br/>".join(escaped(line[:80]) for line in about["lines"])
        lines.append(f"    {number[node]}{_SHAPE[about['what']].format(label)}:::{about['what']}")
    for one, other, about in graph.edges(data=True):
        arrow = f"-. {about['how']} .->" if about["how"] else "-->"
        lines.append(f"    {number[one]} {arrow} {number[other]}")
    return "\n".join([*lines, *(f"    {style}" for style in _STYLES)]) + "\n"
