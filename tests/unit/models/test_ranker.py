"""The learned ranker: it learns, it is the same again, and no other file is taken for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad

from memos_integrations import MemorySession
from memos_integrations.errors import (
    FeedbackError,
    InvalidInputError,
    RankerCorruptError,
    RankerMismatchError,
)
from memos_integrations.models.ranker import Ranker
from memos_integrations.models.ranking import training
from memos_integrations.models.ranking.features import NAMES, features
from memos_integrations.models.ranking.judged import Judged
from memos_integrations.models.ranking.wording import KINDS, kind, signs

THINGS = ["kayak", "piano", "lamp", "teapot", "bicycle", "anchor"]
THINGS += ["ladder", "mirror", "pencil", "violin", "wagon", "basket"]
PLACES = ["cellar", "attic"]


def house(session: MemorySession) -> list[tuple[str, list[str]]]:
    """Of each thing an opinion and a number; the questions ask for numbers."""
    feedback = []
    for thing in THINGS:
        for place in PLACES:
            opinion, number = session.add(
                [f"The {thing} in the {place} is lovely", f"Seven of {thing} stand in some {place}"]
            )
            feedback.append((f"How many {thing} are in the {place}?", [number.id]))
            assert opinion.id != number.id
    return feedback


def made_up(count: int, seed: int = 0, hits: int = 12) -> list[Judged]:
    """What is right has the greatest of one feature that the search does not look at."""
    random, at = np.random.default_rng(seed), NAMES.index("before_1")
    judged = []
    for _ in range(count):
        rows = np.zeros((hits, len(NAMES)))
        rows[:, NAMES.index("score")] = np.sort(random.random(hits))[::-1]
        rows[:, at] = random.random(hits)
        judged.append(Judged(rows, np.arange(hits) == rows[:, at].argmax(), 1))
    return judged


def first(ranker: Ranker, judged: list[Judged]) -> float:
    """The share of questions whose best is right."""
    return float(np.mean([one.right[np.argmax(ranker.judge(one.features))] for one in judged]))


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    return Ranker.train(made_up(60))


# Learning ----------------------------------------------------------------------------------------


def test_it_learns_what_feedback_shows_and_holds_elsewhere(ranker: Ranker) -> None:
    others = made_up(60, seed=1)
    by_score = np.mean([one.right[0] for one in others])
    assert by_score < 0.3
    assert first(ranker, others) > 0.6
    assert first(Ranker.train(made_up(240)), others) > 0.9
    assert ranker.questions == 60


def test_the_same_feedback_gives_the_same_ranker(ranker: Ranker) -> None:
    again = Ranker.train(made_up(60))
    for one, other in zip(ranker.network.members, again.network.members, strict=True):
        np.testing.assert_array_equal(one.flat, other.flat)


def test_feedback_without_a_lesson_leaves_the_order_of_the_search() -> None:
    """What is right is drawn by lot: the ridge keeps to the search's own score."""
    judged = made_up(24)
    random = np.random.default_rng(2)
    lots = [Judged(o.features, np.arange(12) == random.integers(0, 12), 1) for o in judged]
    scores = np.array([Ranker.train(lots).judge(one.features) for one in lots])
    own = np.array([one.features[:, NAMES.index("score")] for one in lots])
    assert np.corrcoef(scores.ravel(), own.ravel())[0, 1] > 0.7


def test_the_slope_is_that_of_the_loss() -> None:
    taught = made_up(3)
    rows = np.random.default_rng(3).normal(size=(36, len(NAMES)))
    lists = training.Lists(rows, taught)
    at = np.random.default_rng(4).normal(0, 0.3, training._weights())
    error = check_grad(lambda w: lists.loss(w)[0], lambda w: lists.loss(w)[1], at, seed=5)
    assert error < 1e-5 * np.linalg.norm(lists.loss(at)[1])


@pytest.mark.parametrize("count", [0, training.LEAST - 1])
def test_too_little_feedback(count: int) -> None:
    useless = [Judged(one.features, np.zeros(12, dtype=bool), 1) for one in made_up(30, seed=6)]
    with pytest.raises(FeedbackError, match=rf"{count} of {count + 30} .* it takes 20"):
        Ranker.train([*made_up(count), *useless])


def test_scipy_is_asked_for_where_it_is_needed() -> None:
    """Loading and ranking take none."""
    script = (
        "import sys\n"
        "sys.modules['scipy'] = sys.modules['scipy.optimize'] = None\n"
        "import numpy as np\n"
        "from memos_integrations.errors import MissingExtraError\n"
        "from memos_integrations.models.ranker import Ranker\n"
        "from memos_integrations.models.ranking.features import NAMES\n"
        "from memos_integrations.models.ranking.judged import Judged\n"
        "rows = np.random.default_rng(0).random((4, len(NAMES)))\n"
        "one = Judged(rows, np.arange(4) == 2, 1)\n"
        "try:\n    Ranker.train([one] * 30)\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "memos-integrations[ranker]" in done.stdout


# From a session to a search ----------------------------------------------------------------------


def test_from_feedback_to_searches(alice: MemorySession, tmp_path: Path) -> None:
    feedback = house(alice)
    judged = alice.judge(feedback)
    assert [one.wanted for one in judged] == [1] * len(feedback)
    assert all(one.teaches for one in judged)
    assert alice.list()[0].header.behaviour.uses == 0, "judging is no use"
    Ranker.train(judged).save(tmp_path / "ranker.json")
    ranker = Ranker.load(tmp_path / "ranker.json")
    asked, right = feedback[0]
    [hit] = alice.search(asked, limit=1, reranker=ranker)
    assert [hit.cube.id] == right
    found = sum(alice.search(q, limit=1, reranker=ranker)[0].cube.id in ids for q, ids in feedback)
    plain = sum(alice.search(q, limit=1)[0].cube.id in ids for q, ids in feedback)
    assert found > plain


async def test_judging_has_an_async_twin(alice: MemorySession) -> None:
    [cube] = alice.add("plums")
    [one] = await alice.ajudge([("plums?", [cube.id])])
    assert one.right.tolist() == [True]
    assert not one.teaches, "there is nothing that is wrong"


def test_ids_that_are_not_found_are_wanted_all_the_same(alice: MemorySession) -> None:
    alice.add(["plums", "pears"])
    [one] = alice.judge([("plums", ["01890a5d-ac96-774b-bcce-b302099a8057"])])
    assert (one.wanted, one.right.any()) == (1, False)


@pytest.mark.parametrize(
    "feedback", ["plums", 7, {"plums": []}, ["plums"], [("plums",)], [("plums", "id")], [(7, [])]]
)
def test_what_is_no_feedback(alice: MemorySession, feedback: Any) -> None:
    with pytest.raises(InvalidInputError):
        alice.judge(feedback)


# Its features ------------------------------------------------------------------------------------


def test_every_feature_is_a_finite_number(alice: MemorySession) -> None:
    alice.add(["plums", "🙂 ?!", "x" * 900])
    hits = alice.search("when 🙂?", reranker=False)
    made = features("when 🙂?", hits)
    assert made.shape == (len(hits), len(NAMES))
    assert np.isfinite(made).all()
    assert features("plums", []).shape == (0, len(NAMES))
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("When did she move?", "asks_when"),
        ("What city is it?", "asks_where"),
        ("Who came?", "asks_who"),
        ("How many cats?", "asks_how_many"),
        ("How is she?", "asks_how"),
        ("Why not?", "asks_why"),
        ("Would she go?", "asks_whether"),
        ("Which one?", "asks_which"),
        ("Island life?", None),
    ],
)
def test_kinds_of_questions(question: str, wanted: str | None) -> None:
    assert kind(question) == wanted
    assert wanted is None or wanted in KINDS


def test_signs_in_words() -> None:
    made = signs("I met Odile in May, two of us! Did you? [a photo]")
    assert made == {
        "names_times": 1,
        "names_numbers": 1,
        "names_names": 2,
        "of_me": 1,
        "of_you": 1,
        "asks": 1,
        "question_marks": 1,
        "exclamations": 1,
        "remark": 1,
    }


# Its file ----------------------------------------------------------------------------------------


def test_the_file_gives_the_same_scores_and_holds_no_words(ranker: Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path / "ranker.json")
    loaded = Ranker.load(str(tmp_path / "ranker.json"))
    rows = made_up(1, seed=7)[0].features
    assert loaded.judge(rows) == ranker.judge(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["ranker.json"]
    assert set(json.loads((tmp_path / "ranker.json").read_text())) == {
        *("format", "release", "features", "questions", "mean", "scale", "members", "sha256")
    }


def _changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def apply(text: str) -> str:
        raw = json.loads(text)
        change(raw)
        return json.dumps(raw)

    return apply


@pytest.mark.parametrize(
    ("damage", "kind_of"),
    [
        (lambda text: "", RankerCorruptError),
        (lambda text: text[:-40], RankerCorruptError),
        (lambda text: "[]", RankerCorruptError),
        (lambda text: "{}", RankerCorruptError),
        (_changed(lambda raw: raw["mean"].__setitem__(0, 0.25)), RankerCorruptError),
        (_changed(lambda raw: raw["mean"].pop()), RankerCorruptError),
        (_changed(lambda raw: raw["scale"].__setitem__(0, 0.0)), RankerCorruptError),
        (_changed(lambda raw: raw["mean"].__setitem__(0, float("nan"))), RankerCorruptError),
        (_changed(lambda raw: raw["members"].clear()), RankerCorruptError),
        (_changed(lambda raw: raw["members"][0]["inner"].pop()), RankerCorruptError),
        (_changed(lambda raw: raw.update(more=1)), RankerCorruptError),
        (_changed(lambda raw: raw.pop("sha256")), RankerCorruptError),
        (_changed(lambda raw: raw.update(release=2)), RankerMismatchError),
        (_changed(lambda raw: raw["features"].update(version=99)), RankerMismatchError),
        (_changed(lambda raw: raw["features"]["names"].pop()), RankerMismatchError),
    ],
)
def test_damaged_files_and_others(
    ranker: Ranker, tmp_path: Path, damage: Callable[[str], str], kind_of: type[Exception]
) -> None:
    path = tmp_path / "ranker.json"
    ranker.save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(kind_of, match=r"ranker\.json"):
        Ranker.load(path)


def test_bytes_and_size(tmp_path: Path) -> None:
    path = tmp_path / "ranker.json"
    path.write_bytes(b"\xff\x00\x80")
    with pytest.raises(RankerCorruptError, match="no JSON"):
        Ranker.load(path)
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(RankerCorruptError, match="no JSON"):
        Ranker.load(path)
    with path.open("wb") as file:
        file.truncate(2**25)
    with pytest.raises(RankerCorruptError, match="too large"):
        Ranker.load(path)
    with pytest.raises(FileNotFoundError):
        Ranker.load(tmp_path / "nothing.json")
