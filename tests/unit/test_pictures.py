"""Lineage pictures: nothing overlaps, any text can be drawn, the same graph gives the same file."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import matplotlib
import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.pictures.drawing import Drawing
from memos_integrations.infrastructure.pictures.layout import Box
from memos_integrations.infrastructure.pictures.lineage import draw_lineage
from memos_integrations.infrastructure.pictures.words import Fonts

START = datetime(2026, 9, 6, 18, 2, tzinfo=UTC)
Graph = nx.DiGraph


class Story:
    """A provenance graph, told step by step, one a day."""

    def __init__(self) -> None:
        self.graph: Graph[str] = nx.DiGraph()
        self.days = 0

    def do(self, verb: str, who: str = "maya", used: tuple[str, ...] = ()) -> str:
        self.days += 1
        name, at = f"activity:{self.days}", START + timedelta(days=self.days)
        self.graph.add_node(f"agent:{who}", kind="agent", name=who)
        self.graph.add_node(name, kind="activity", verb=verb, at=at)
        self.graph.add_edge(name, f"agent:{who}", relation="wasAssociatedWith")
        for earlier in used:
            self.graph.add_edge(name, earlier, relation="used")
        return name

    def make(self, cube: str, version: int, text: str, by: str, **after: str) -> str:
        name, at = f"{cube}@{version}", self.graph.nodes[by]["at"]
        self.graph.add_node(
            name, kind="entity", text=text, version=version, state="generated", at=at
        )
        self.graph.add_edge(name, by, relation="wasGeneratedBy")
        for relation, earlier in after.items():
            self.graph.add_edge(name, earlier, relation=relation)
        return name


def chain(texts: list[str], *, deleted: bool = False, agents: tuple[str, ...] = ("maya",)) -> Graph:
    story = Story()
    last = story.make("c", 1, texts[0], story.do("add"))
    for version, text in enumerate(texts[1:], 2):
        verb = story.do("update", agents[version % len(agents)], (last,))
        last = story.make("c", version, text, verb, wasRevisionOf=last)
    if deleted:
        story.graph.add_edge(last, story.do("delete"), relation="wasInvalidatedBy")
    return story.graph


def merge(sources: int, *, one_add: bool = False) -> Graph:
    story = Story()
    text = "The flight to Porto leaves on Friday 23 October at ten past seven, from Schiphol"
    first = story.do("add")
    made = [
        story.make(f"s{n}", 1, text, first if one_add or n == 0 else story.do("add"))
        for n in range(sources)
    ]
    made[0] = story.make("s0", 2, text, story.do("update", used=(made[0],)), wasRevisionOf=made[0])
    merged = story.make("m", 1, "All about it", story.do("merge", "the tidier", tuple(made)))
    for source in made:
        story.graph.add_edge(merged, source, relation="wasDerivedFrom")
    return story.graph


GRAPHS = {
    "one version": chain(["alone"]),
    "two versions": chain(["My flight is on Friday 23 October.", "It is on Sunday 25 October."]),
    "twelve versions": chain([f"Version {n}. " * (n + 1) for n in range(12)], deleted=True),
    "two people": chain(["a", "b", "c", "d"], deleted=True, agents=("maya", "importer")),
    "merge of three": merge(3),
    "merge of nine": merge(9),
    "merge from one add": merge(6, one_add=True),
}


def apart(one: Box, other: Box) -> bool:
    return (
        abs(one.x - other.x) >= (one.width + other.width) / 2 - 1e-6
        or abs(one.y - other.y) >= (one.height + other.height) / 2 - 1e-6
    )


def label_boxes(drawing: Drawing) -> list[Box]:
    words = [drawing.graph.edges[edge]["relation"] for edge, _ in drawing.layout.labels]
    return [
        Box(word, x, y, Fonts().width(word, 7.5), 0.12)
        for word, (_, (x, y)) in zip(words, drawing.layout.labels, strict=True)
    ]


@pytest.mark.parametrize("name", GRAPHS)
def test_no_box_covers_another(name: str) -> None:
    layout = Drawing(GRAPHS[name]).layout
    assert {box.node for box in layout.boxes} == set(GRAPHS[name])
    assert all(apart(one, other) for one, other in combinations(layout.boxes, 2))
    for box in layout.boxes:
        assert box.width / 2 - 1e-6 <= box.x <= layout.width - box.width / 2 + 1e-6
        assert box.height / 2 - 1e-6 <= box.y <= layout.height - box.height / 2 + 1e-6


@pytest.mark.parametrize("name", GRAPHS)
def test_labels_cover_no_box_and_no_label(name: str) -> None:
    drawing = Drawing(GRAPHS[name])
    labels = label_boxes(drawing)
    assert {label.node for label in labels} == {
        relation for _, _, relation in drawing.graph.edges(data="relation")
    }
    covered = [
        (label.node, box.node)
        for label in labels
        for box in drawing.layout.boxes
        if not apart(label, box)
    ]
    assert covered == []
    assert [(a, b) for a, b in combinations(labels, 2) if not apart(a, b)] == []


@pytest.mark.parametrize("name", GRAPHS)
def test_time_runs_to_the_right(name: str) -> None:
    drawing = Drawing(GRAPHS[name])
    place = {box.node: box for box in drawing.layout.boxes}
    for later, earlier, relation in drawing.graph.edges(data="relation"):
        if relation in ("wasRevisionOf", "wasDerivedFrom"):
            further_down = place[later].y < place[earlier].y - 1
            assert place[later].x > place[earlier].x or further_down


def test_lines_start_at_the_later_thing() -> None:
    drawing = Drawing(GRAPHS["two versions"])
    place = {box.node: box for box in drawing.layout.boxes}
    for (later, earlier), strokes in drawing.layout.lines:
        (x0, y0), (x1, y1) = strokes[0][1][0], strokes[-1][1][-1]
        assert abs(x0 - place[later].x) <= place[later].width / 2 + 1e-6
        assert abs(y0 - place[later].y) <= place[later].height / 2 + 1e-6
        assert abs(x1 - place[earlier].x) <= place[earlier].width / 2 + 1e-6
        assert abs(y1 - place[earlier].y) <= place[earlier].height / 2 + 1e-6


@pytest.mark.parametrize(
    "text",
    [
        "costs $5 and $x^2$, \\frac{1}{2} & <b>",
        "مرحبا بالعالم، وأيضا קצת עברית together",
        "😀 🛩️ 👨‍👩‍👧 水曜日の夜 \U0001f9ff",
        "line\none\ttwo\r\nthree",
        "nobreaks" * 400,
        "word " * 200_000,
        "\u200d\ufe0f",
        "",
    ],
    ids=["formula", "right-to-left", "emoji", "breaks", "one word", "a megabyte", "empty", "none"],
)
def test_any_text_can_be_drawn(text: str, tmp_path: Path) -> None:
    # Warnings are errors in this suite, so a missing glyph would fail here.
    for kind in ("png", "svg"):
        file = draw_lineage(chain([text, "second"]), tmp_path / f"picture.{kind}")
        assert file.stat().st_size > 1_000


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_wrapped_lines_fit(text: str) -> None:
    fonts = Fonts()
    lines = fonts.wrapped(text, 9.0, 2.0, 3)
    assert len(lines) <= 3
    for line in lines:
        assert len(line) <= 2 or fonts.width(line, 9.0) <= 2.0 + 1e-6
    drawable = fonts.drawable(text)
    assert lines == [] or drawable.replace(" ", "").startswith(
        "".join(lines).removesuffix("…").replace(" ", "")
    )


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    for kind in ("svg", "png"):
        one = draw_lineage(merge(3), tmp_path / f"one.{kind}").read_bytes()
        assert one == draw_lineage(merge(3), tmp_path / f"two.{kind}").read_bytes()
    svg = (tmp_path / "one.svg").read_text()
    assert "dc:date" not in svg and "matplotlib.org" not in svg


def test_settings_of_the_user_neither_count_nor_change(tmp_path: Path) -> None:
    plain = draw_lineage(merge(3), tmp_path / "plain.svg").read_bytes()
    mine = {"font.size": 40.0, "svg.fonttype": "none", "text.color": "red"}
    with matplotlib.rc_context(mine):
        assert draw_lineage(merge(3), tmp_path / "mine.svg").read_bytes() == plain
        assert {name: matplotlib.rcParams[name] for name in mine} == mine


def test_pixels_are_bounded(tmp_path: Path) -> None:
    file = draw_lineage(merge(60), tmp_path / "big.png")
    header = file.read_bytes()[16:24]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")
    assert 30_000_000 < width * height <= 41_000_000


@pytest.mark.parametrize("name", ["lineage.pdf", "lineage", "png"])
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"\.png or \.svg"):
        draw_lineage(merge(2), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_an_empty_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        draw_lineage(nx.DiGraph(), tmp_path / "none.png")


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        draw_lineage(merge(2), tmp_path / "no" / "such.png")


def test_without_matplotlib_the_error_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import networkx as nx\n"
        "from memos_integrations.errors import MissingExtraError\n"
        "from memos_integrations.infrastructure.pictures.lineage import draw_lineage\n"
        "graph = nx.DiGraph(); graph.add_node('a@1', kind='entity')\n"
        "try: draw_lineage(graph, sys.argv[1])\n"
        "except MissingExtraError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "pip install 'memos-integrations[viewer]'" in done.stdout
