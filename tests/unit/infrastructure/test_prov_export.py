"""Exports of a real store's lineage: nothing is lost, nothing in a text is more than words."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import networkx as nx
import pytest
import sqlalchemy as sa
from prov import model

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure import provenance
from memos_integrations.infrastructure.pictures.layers import is_ending
from memos_integrations.infrastructure.prov_export.folding import fold
from memos_integrations.infrastructure.prov_export.formats import BY_ENDING, format_of
from memos_integrations.infrastructure.prov_export.graphml import graphml
from memos_integrations.infrastructure.prov_export.mermaid import escaped, mermaid
from memos_integrations.infrastructure.prov_export.page import page
from memos_integrations.infrastructure.prov_export.picture import picture, svg
from memos_integrations.infrastructure.prov_export.prov_json import (
    prov_json,
    prov_json_text,
    qualified,
)
from memos_integrations.infrastructure.prov_export.questions import (
    describe,
    impact,
    path_to_origin,
    sources,
)
from memos_integrations.infrastructure.prov_export.reading import title
from memos_integrations.infrastructure.prov_export.saving import content, save
from memos_integrations.infrastructure.prov_export.timeline import timeline
from memos_integrations.infrastructure.schema import edges, versions
from memos_integrations.testing import CountingIds, FakeClock

Graph = nx.DiGraph
Opener = Callable[..., MemOS]

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    '"] --> evil["x"]\nclick n0 call alert(1)\n%%{init: {}}%% end ``` #quot; &lt;b&gt;',
    "<!--<script> ]]> &amp; \u202e\u2028 \N{FAMILY} \N{COMBINING ACUTE ACCENT} ${script} $$",
)


@pytest.fixture
def story(open_store: Opener) -> MemorySession:
    """A session whose memories went through everything that leaves a trace."""
    clock = FakeClock(step=timedelta(seconds=1))
    maya = open_store(clock=clock, ids=CountingIds()).session("maya")
    boat = maya.add({"role": "user", "content": "Maya has a red boat", "speaker": "Maya"})[0]
    oslo = maya.add("Her boat lies in Oslo")[0]
    maya.update(boat.id, "Maya has a blue boat")
    maya.archive(oslo.id, reason="for now")
    maya.restore(oslo.id)
    both = maya.merge([boat.id, oslo.id])
    maya.snapshot("merged")
    maya.append(both.id, "It has two sails")
    maya.freeze(both.id)
    maya.unfreeze(both.id)
    maya.delete(both.id)
    maya.rollback("merged")
    maya.delete(both.id)
    return maya


@pytest.fixture
def graph(story: MemorySession) -> Graph[str]:
    """The lineage of all of it."""
    return story.lineage(_newest(story))


def hostile_graph(session: MemorySession) -> Graph[str]:
    ids = [session.add(text, speaker=text[:20], source=text)[0].id for text in HOSTILE]
    return session.lineage(session.merge(ids, "\n".join(HOSTILE)).id)


def _newest(session: MemorySession) -> str:
    entry = session.log(verb="merge")[0]
    return next(one for one, version in entry.memories if version == 1)


def _kinds(graph: Graph[str]) -> Counter[str]:
    return Counter(kind for _, kind in graph.nodes(data="kind"))


# What is in the graph -------------------------------------------------------------------------


def test_the_life_is_in_the_graph(story: MemorySession, graph: Graph[str]) -> None:
    verbs = Counter(verb for _, verb in graph.nodes(data="verb") if verb)
    assert verbs == {
        "add": 2,
        "update": 2,
        "archive": 1,
        "restore": 1,
        "merge": 1,
        "freeze": 1,
        "unfreeze": 1,
        "rollback": 1,
        "delete": 2,
    }
    moves = [
        (data["before"], data["after"], data["reason"])
        for _, later, data in graph.edges(data=True)
        if "after" in data and later.endswith("@1")
    ]
    assert ("generated", "archived", "for now") in moves
    assert ("archived", "activated", "asked for") in moves
    assert all(data["relation"] == "used" for *_, data in graph.edges(data=True) if "after" in data)


def test_every_passage_of_a_life_is_an_edge(story: MemorySession, graph: Graph[str]) -> None:
    for cube_id in {node.rpartition("@")[0] for node in graph if "@" in node}:
        told = [(one.verb, one.before, one.after) for one in story.life(cube_id)]
        told = [one for one in told if "deleted" not in one]
        drawn = [
            (graph.nodes[activity]["at"], graph.nodes[activity]["verb"], about)
            for activity, version, about in graph.edges(data=True)
            if version.startswith(cube_id) and "after" in about
        ]
        drawn.sort(key=lambda one: one[0])
        assert [(verb, about["before"], about["after"]) for _, verb, about in drawn] == told


def test_a_deletion_that_was_taken_back_is_there(graph: Graph[str]) -> None:
    """Version 2 was deleted, version 3 brought the memory back, and was deleted, too."""
    ended = [later for later, _, word in graph.edges(data="relation") if is_ending(word)]
    assert sorted(node.rpartition("@")[2] for node in ended) == ["2", "3"]
    assert nx.is_directed_acyclic_graph(graph)


def test_an_activity_changes_what_was_there_before_it(graph: Graph[str]) -> None:
    """A rollback makes a version and changes the state of the one before."""
    for later, earlier, word in graph.edges(data="relation"):
        if "at" in graph.nodes[later] and "at" in graph.nodes[earlier]:
            older, newer = (later, earlier) if is_ending(word) else (earlier, later)
            assert graph.nodes[older]["at"] <= graph.nodes[newer]["at"], (later, word, earlier)


def test_an_ending_makes_no_circle() -> None:
    """An activity that deletes what it used: PROV's two arrows would lead to and fro."""
    graph: Graph[str] = nx.DiGraph()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    graph.add_node("c@1", kind="entity", text="a boat", version=1)
    graph.add_node("activity:x", kind="activity", verb="fold", at=at)
    graph.add_node("agent:maya", kind="agent", name="maya")
    graph.add_edge("activity:x", "agent:maya", relation="wasAssociatedWith")
    graph.add_edge("activity:x", "c@1", relation="used")
    provenance._add_endings(graph, [(7, 3)], {3: "c@1"}, {7: "activity:x"})
    assert nx.is_directed_acyclic_graph(graph)
    ended = {name: graph.nodes["c@1"][name] for name in ("ended", "ended_by", "ended_at")}
    assert ended == {"ended": "fold", "ended_by": "maya", "ended_at": at}
    assert "deleted by maya" in title(fold(graph), "c@1")


def test_the_past_has_its_own_lineage(story: MemorySession, graph: Graph[str]) -> None:
    past = story.as_of("merged").lineage(_newest(story))
    assert set(past) < set(graph)
    assert "rollback" not in {verb for _, verb in past.nodes(data="verb")}
    assert max(data["version"] for _, data in past.nodes(data=True) if "version" in data) == 2
    assert not [word for *_, word in past.edges(data="relation") if is_ending(word)]


def test_more_versions_than_sqlite_takes_parameters(alice: MemorySession) -> None:
    """32,766 single parameters are SQLite's most."""
    many = 40_100
    cube = alice.add("the first of many")[0]

    def write(tx: sa.Connection) -> tuple[None, bool]:
        row = dict(tx.execute(sa.select(versions)).mappings().one())
        start, body = row.pop("pk"), json.loads(row.pop("body"))
        rows = [
            {
                **row,
                "pk": start + n,
                "version": n + 1,
                "body": json.dumps({**body, "version": n + 1}),
            }
            for n in range(1, many)
        ]
        tx.execute(sa.insert(versions), rows)
        chain = [
            {"subject_pk": start + n, "object_pk": start + n - 1, "relation": "wasRevisionOf"}
            for n in range(1, many)
        ]
        tx.execute(sa.insert(edges), chain)
        return None, False

    alice._vault.commit(write)
    graph = alice.lineage(cube.id)
    assert _kinds(graph) == {"entity": many, "activity": 1, "agent": 1}
    assert Counter(word for *_, word in graph.edges(data="relation"))["wasRevisionOf"] == many - 1
    assert len(sources(graph, f"{cube.id}@{many}")) == many - 1


# PROV-JSON ------------------------------------------------------------------------------------

RELATIONS = {
    "wasGeneratedBy": model.ProvGeneration,
    "used": model.ProvUsage,
    "wasInvalidatedBy": model.ProvInvalidation,
    "wasAssociatedWith": model.ProvAssociation,
}


def test_prov_json_holds_the_whole_graph(graph: Graph[str]) -> None:
    document = model.ProvDocument.deserialize(content=prov_json_text(graph), format="json")
    things = {"entity": model.ProvEntity, "activity": model.ProvActivity, "agent": model.ProvAgent}
    read = {name: len(list(document.get_records(kind))) for name, kind in things.items()}
    assert read == _kinds(graph)
    words = Counter(word for *_, word in graph.edges(data="relation"))
    for word, kind in RELATIONS.items():
        assert len(list(document.get_records(kind))) == words.pop(word), word
    derivations = list(document.get_records(model.ProvDerivation))
    revisions = [one for one in derivations if one.get_asserted_types()]
    assert words == {
        "wasRevisionOf": len(revisions),
        "wasDerivedFrom": len(derivations) - len(revisions),
    }
    assert len(list(document.get_records(model.ProvRelation))) == graph.number_of_edges()


def test_prov_json_keeps_what_is_known(story: MemorySession, graph: Graph[str]) -> None:
    document = prov_json(graph)
    texts = {one["prov:value"] for one in document["entity"].values()}
    assert {"Maya has a red boat", "Maya has a blue boat"} <= texts
    assert "Maya" in {one.get("memos:speaker") for one in document["entity"].values()}
    changes = {
        (one["memos:before"], one["memos:after"], one["memos:reason"])
        for one in document["used"].values()
        if "memos:after" in one
    }
    assert ("generated", "archived", "for now") in changes
    assert {one["prov:label"] for one in document["agent"].values()} == {"maya"}


def test_prov_json_of_hostile_texts(alice: MemorySession) -> None:
    graph = hostile_graph(alice)
    document = model.ProvDocument.deserialize(content=prov_json_text(graph), format="json")
    read = {str(next(iter(one.value))) for one in document.get_records(model.ProvEntity)}
    assert read == {text for _, text in graph.nodes(data="text") if text}


def test_names_are_safe_and_stay_apart() -> None:
    graph: Graph[str] = nx.DiGraph()
    names = ["agent:a b", "agent:a%20b", "agent:-x", "agent:a.b~c", "agent:ü/:<", "agent:"]
    for name in names:
        graph.add_node(name, kind="agent")
    written = [qualified(graph, name) for name in names]
    assert len(set(written)) == len(names)
    assert all(re.fullmatch(r"agent:[\w%-]*", name, re.ASCII) for name in written)
    read = model.ProvDocument.deserialize(content=prov_json_text(graph), format="json")
    assert len(list(read.get_records(model.ProvAgent))) == len(names)


# GraphML --------------------------------------------------------------------------------------


def _read_graphml(text: str) -> Graph[str]:
    return nx.read_graphml(BytesIO(text.encode()))


def test_graphml_round_trip(graph: Graph[str]) -> None:
    read = _read_graphml(graphml(graph))
    assert set(read) == set(graph)
    for node, data in graph.nodes(data=True):
        told = {k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in data.items()}
        assert read.nodes[node] == told
    assert {(a, b): d for a, b, d in read.edges(data=True)} == {
        (a, b): d for a, b, d in graph.edges(data=True)
    }


def test_graphml_of_what_xml_cannot_hold() -> None:
    graph: Graph[str] = nx.DiGraph()
    graph.add_node("a@1", kind="entity", text="\x00 \x0b \ud800 \ufffe one\r\ntwo\rthree")
    read = _read_graphml(graphml(graph))
    assert read.nodes["a@1"]["text"] == "\ufffd \ufffd \ufffd \ufffd one\ntwo\nthree"


# Mermaid --------------------------------------------------------------------------------------

NODE = re.compile(r'    n\d+(\["[^"]*"\]|\(\["[^"]*"\]\)|\[\["[^"]*"\]\]):::\w+')
ARROW = re.compile(r'    n\d+ -->(\|"\w+"\|)? n\d+')
STYLE = re.compile(r"    classDef \w+ [\w:#,]+")


@pytest.mark.parametrize("full", [False, True])
def test_mermaid_escapes_hostile_texts(alice: MemorySession, full: bool) -> None:
    graph = hostile_graph(alice)
    head, *lines = mermaid(graph, full=full).splitlines()
    assert head == "flowchart RL"
    shown = graph if full else fold(graph)
    kinds = Counter(
        next(name for name, form in FORMS.items() if form.fullmatch(line)) for line in lines
    )
    assert kinds == {"node": len(shown), "arrow": shown.number_of_edges(), "style": 4}
    for line in lines:
        bare = line.replace("<br/>", "")
        assert not set(bare[bare.find('"') : bare.rfind('"')]) & set("<>&`[](){}|\\$*_"), line


FORMS = {"node": NODE, "arrow": ARROW, "style": STYLE}


def test_escaped_text_reads_as_it_was() -> None:
    for text in (*HOSTILE, "1. one", "- two", "fa:fa-bell", "http://evil.example", "a.b 12:30"):
        back = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), escaped(text))
        assert back == text
    assert "://" not in escaped("http://evil.example")
    assert escaped("Maya lives in Bergen, since 12:30") == "Maya lives in Bergen, since 12:30"


# The page -------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """What a browser would see: elements, their attributes, the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()
        self.values: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.update(name for name, _ in attrs)
        self.values += [(name, value or "") for name, value in attrs]
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


def test_the_page_loads_nothing(graph: Graph[str]) -> None:
    text = page(graph)
    seen = Elements(text)
    assert not {"src", "srcset", "action", "data", "style", "poster"} & set(seen.attributes)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(seen.tags)
    assert not [v for name, v in seen.values if name == "href" and not v.startswith("#")]
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(|WebSocket", text)
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) <= {"http://www.w3.org/2000/svg"}
    policy = next(v for name, v in seen.values if name == "content" and "default-src" in v)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_shows_hostile_texts_as_words(alice: MemorySession, memory: MemOS) -> None:
    harmless = memory.session("bob")
    ids = [harmless.add(f"text {n}", speaker="x", source="y")[0].id for n in range(3)]
    plain = Elements(page(harmless.lineage(harmless.merge(ids, "all of it").id)))
    graph = hostile_graph(alice)
    seen = Elements(page(graph))
    assert seen.tags["script"] == plain.tags["script"] == len(seen.scripts)
    assert set(seen.tags) == set(plain.tags)
    assert set(seen.attributes) == set(plain.attributes)
    data = next(json.loads(one) for one in seen.scripts if one.lstrip().startswith("{"))
    assert {one["text"] for one in data["nodes"]} - {""} == {*HOSTILE, "\n".join(HOSTILE)}
    assert len(data["edges"]) == graph.number_of_edges()
    assert not [name for name in seen.attributes if name.startswith("on")]


def test_the_page_is_the_same_each_time(graph: Graph[str]) -> None:
    assert page(graph) == page(graph.copy())


# Pictures and text ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".svg", ".png"])
@pytest.mark.parametrize("full", [False, True])
def test_pictures_are_the_same_bytes(
    graph: Graph[str], tmp_path: Path, ending: str, full: bool
) -> None:
    one, other = (
        picture(shown, tmp_path / f"{name}{ending}", full=full).read_bytes()
        for name, shown in (("one", graph), ("other", graph.copy()))
    )
    assert one == other
    # What is drawn depends on what there is.
    changed = graph.copy()
    changed.nodes[next(n for n in graph if n.endswith("@1"))]["text"] = "other words"
    assert picture(changed, tmp_path / f"changed{ending}", full=full).read_bytes() != one


def test_pictures_of_hostile_texts(alice: MemorySession, tmp_path: Path) -> None:
    graph = hostile_graph(alice)
    drawn = svg(graph, full=True)
    assert "<script" not in drawn
    assert "onerror=" not in re.sub(r"<!--.*?-->", "", drawn, flags=re.S)
    assert picture(graph, tmp_path / "x.png").stat().st_size > 1_000


def test_the_timeline_tells_all(graph: Graph[str]) -> None:
    said = timeline(graph)
    for word in ("add by maya", "merge by maya", "rollback by maya", "Maya has a blue boat"):
        assert word in said
    assert "generated to archived (for now)" in said
    assert said.count("\n  + ") == _kinds(graph)["entity"]
    assert said.count("\n  - ") == 2


def test_a_folded_version_shows_what_became_of_it(graph: Graph[str]) -> None:
    folded = fold(graph)
    assert _kinds(folded) == {"entity": _kinds(graph)["entity"]}
    states = Counter(state for _, state in folded.nodes(data="state"))
    assert states["merged"] == 2
    assert all(data["by"] == "maya" for _, data in folded.nodes(data=True))


# Questions ------------------------------------------------------------------------------------


def test_questions(story: MemorySession, graph: Graph[str]) -> None:
    both = _newest(story)
    boat = next(n for n, t in graph.nodes(data="text") if t == "Maya has a red boat")
    assert impact(graph, boat) == [boat.replace("@1", "@2"), f"{both}@1", f"{both}@2", f"{both}@3"]
    assert boat in sources(graph, f"{both}@3")
    *_, last = path_to_origin(graph, f"{both}@3")
    assert last.relation == "wasGeneratedBy"
    assert "add by maya" in str(last)
    assert "said by Maya" in str(last)
    assert str(describe(graph)).startswith("6 versions of 3 memories · 12 activities by 1 agent")
    for question in (impact, sources, path_to_origin):
        with pytest.raises(InvalidInputError, match="no node 'nobody@1'"):
            question(graph, "nobody@1")
    with pytest.raises(InvalidInputError, match="is no version"):
        path_to_origin(graph, "agent:maya")


# Saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", BY_ENDING)
def test_the_ending_names_the_format(graph: Graph[str], tmp_path: Path, ending: str) -> None:
    path = save(graph, tmp_path / f"lineage{ending.upper()}")
    assert path.stat().st_size > 0
    if ending != ".png":
        assert path.read_text("utf-8") == content(graph, BY_ENDING[ending])


@pytest.mark.parametrize(
    ("path", "format"),
    [
        ("lineage", None),
        ("lineage.doc", None),
        ("lineage.txt", "png"),
        ("lineage.png", "svg"),
        ("lineage.txt", "word"),
        ("missing/lineage.txt", None),
        ("missing/lineage.svg", None),
        ("\0.txt", None),
        ("", "text"),
        (None, "text"),
        (7, "text"),
        ("\ud800.txt", "text"),
    ],
)
def test_what_cannot_be_saved(
    graph: Graph[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    format: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError):
        save(graph, path, format=format)
    assert not list(tmp_path.glob("*lineage*"))


def test_without_a_file_it_is_text() -> None:
    assert format_of(None, None) == "text"
    assert format_of("text", Path("any.thing")) == "text"
    with pytest.raises(InvalidInputError, match="no text"):
        format_of("png", None)
