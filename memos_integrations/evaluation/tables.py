"""The tables of a report: plain lists, printed by whoever shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from memos_integrations.evaluation.held_out import SHOWN, HeldOut
from memos_integrations.evaluation.report import Report
from memos_integrations.evaluation.rows import DEFAULT
from memos_integrations.evaluation.scoring import BUDGETS


class Table(NamedTuple):
    """A title, the names of the columns, and rows of text and numbers."""

    title: str
    columns: list[str]
    rows: list[list[str | float]]


_MAIN = ("recall@1", "recall@5", "recall@10", "recall@20", "recall@50", "hit@10", "ndcg@10", "mrr")
_PRICE = (*(f"recall in {budget:,} tokens" for budget in BUDGETS), "tokens of the first 10")
_SESSIONS = ("session hit@10", "session of the first 10")


def tables(report: Report) -> list[Table]:
    """How much is found; with what certainty; by category; at what price."""
    data = report.data
    about = f"{len(data.conversations)} conversations, {data.turns:,} turns, {data.questions:,}"
    found = [_figures(f"{data.name}: {about} questions", report, _MAIN)]
    found += [certainty(report, ("recall@10", "mrr")), certainty(report, _PRICE[:2])]
    if len(data.categories) > 1:
        found += [by_category(report, figure) for figure in ("recall@10", "mrr")]
    price = _figures("price, and sessions", report, (*_PRICE, *_SESSIONS))
    price.columns.append("ms p50")
    for row in price.rows:
        row.append(report.milliseconds(str(row[0])))
    return [*found, price, certainty(report, ("session hit@10",))]


def _figures(title: str, report: Report, figures: Sequence[str]) -> Table:
    rows: list[list[str | float]] = [
        [row, *(report.mean(row, one) for one in figures)] for row in report.rows
    ]
    return Table(title, ["row", *figures], rows)


def certainty(report: Report, figures: Sequence[str]) -> Table:
    """95% intervals, and how far the default is before each row, question by question."""
    rows: list[list[str | float]] = []
    for row in report.rows:
        cells: list[str | float] = [row]
        for figure in figures:
            cells.append(_between(report.interval(row, figure)))
            if DEFAULT in report.rows:
                same = row == DEFAULT
                cells.append("" if same else _between(report.lead(DEFAULT, row, figure)))
        rows.append(cells)
    columns = ["row"]
    for figure in figures:
        columns.append(figure)
        if DEFAULT in report.rows:
            columns.append(f"{DEFAULT} leads by")
    return Table("95% intervals (bootstrap over questions)", columns, rows)


def _between(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def by_category(report: Report, figure: str) -> Table:
    """One column a category."""
    categories = report.data.categories
    rows: list[list[str | float]] = [
        [row, *(report.mean(row, figure, category=one) for one in categories)]
        for row in report.rows
    ]
    return Table(f"{figure} by category", ["row", *categories], rows)


def by_conversation(report: Report, figure: str) -> Table:
    """One column a conversation."""
    talks = [one.id for one in report.data.conversations if one.questions]
    rows: list[list[str | float]] = [
        [row, *(report.in_conversation(row, figure, one) for one in talks)] for row in report.rows
    ]
    return Table(f"{figure} by conversation", ["row", *talks], rows)


def held_out(folds: Sequence[HeldOut]) -> list[Table]:
    """What weights chosen on the other conversations find in each, and which they are."""
    rows: list[list[str | float]] = [
        [one.conversation, row, *(figures[figure] for figure in SHOWN)]
        for one in folds
        for row, figures in one.figures.items()
    ]
    found = Table("one conversation left out", ["left out", "row", *SHOWN], rows)
    chosen: list[list[str | float]] = [[one.conversation, *one.chosen.values()] for one in folds]
    return [found, Table("weights chosen on the others", ["left out", *folds[0].chosen], chosen)]
