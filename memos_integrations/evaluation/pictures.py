"""A report on paper: a page with tables, and a plot (PNG) of the two things that matter."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from io import BytesIO
from pathlib import Path

from memos_integrations.errors import MissingExtraError
from memos_integrations.evaluation.report import Report
from memos_integrations.evaluation.rows import DEFAULT
from memos_integrations.evaluation.scoring import BUDGETS
from memos_integrations.evaluation.tables import Table, by_conversation, tables

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;"
    "color:#222;background:#fff}table{border-collapse:collapse;margin:.5rem 0 2rem}"
    "td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}"
)


def write_report(report: Report, folder: Path, counted: str) -> list[Path]:
    """``recall.png`` and ``report.html``, which holds the picture and needs no network."""
    picture = plot(report)
    folder.mkdir(parents=True, exist_ok=True)
    image, page = folder / "recall.png", folder / "report.html"
    image.write_bytes(picture)
    page.write_text(_page(report, picture, counted), encoding="utf-8")
    return [image, page]


def plot(report: Report) -> bytes:
    """Recall@10 with its intervals, and recall by budget, as PNG.

    Raises :class:`MissingExtraError` without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        raise MissingExtraError(
            "pictures need matplotlib: pip install 'memos-integrations[viewer]'"
        ) from None
    names = list(report.rows)
    figure = Figure(figsize=(12, 1.8 + 0.36 * max(len(names), 5)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    means = [report.mean(row, "recall@10") for row in names]
    ends = [report.interval(row, "recall@10") for row in names]
    around = [[m - low for m, (low, _) in zip(means, ends, strict=True)]]
    around.append([high - m for m, (_, high) in zip(means, ends, strict=True)])
    colours = ["#2a6f97" if row == DEFAULT else "#b8c4cc" for row in names]
    left.barh(names, means, xerr=around, color=colours, error_kw={"ecolor": "#333", "lw": 1})
    left.invert_yaxis()
    left.set(xlim=(0, 1), xlabel="evidence recall@10, 95% interval")
    for row in names:
        recall = [report.mean(row, f"recall in {budget:,} tokens") for budget in BUDGETS]
        strong = {"lw": 2.5} if row == DEFAULT else {"lw": 1, "alpha": 0.7}
        right.plot(BUDGETS, recall, marker="o", label=row, **strong)
    right.set(xscale="log", xlabel="tokens of the prompt", ylabel="evidence recall", ylim=(0, 1))
    right.set_xticks(BUDGETS, [f"{budget:,}" for budget in BUDGETS])
    right.minorticks_off()
    right.legend(fontsize=8, loc="lower right")
    out = BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()


def _page(report: Report, picture: bytes, counted: str) -> str:
    title = escape(f"Recall on {report.data.name}")
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>",
        f"<style>{_STYLE}</style><h1>{title}</h1>",
        f"<img alt='recall by row and by budget' src='data:image/png;base64,"
        f"{b64encode(picture).decode()}'>",
        *map(_table, [*tables(report), by_conversation(report, "recall@10")]),
        f"<p>Budgets count {escape(counted)}. Left out: "
        f"{escape(str(dict(report.data.skipped)) if report.data.skipped else 'nothing')}.</p>",
    ]
    return "\n".join(parts)


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(one))}</td>" for one in row) + "</tr>"
        for row in table.rows
    )
    return f"<h2>{escape(table.title)}</h2><table><tr>{head}</tr>{body}</table>"


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"
