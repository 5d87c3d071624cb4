"""The cooling benchmark for people: two tables for each climate, and a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from agents.cooling.contenders import FORESIGHT, LEARNED, PLAN, RULE
from agents.cooling.suite_summary import ClimateSummary, Row
from agents.cooling.suite_targets import TARGETS, Target
from minesim.bench.files import write_whole
from minesim.bench.report import usd
from minesim.bench.statistics import Estimate

COLORS = {RULE: "C0", PLAN: "C1", LEARNED: "C3", FORESIGHT: "0.5"}
COLUMNS = (
    "",
    "cost, USD",
    "less than best rule",
    "95 %",
    "p (Holm)",
    "cooling kWh",
    "miners' fans kWh",
    "air energy saved",
    "PUE",
    "water m3",
    "chip sd K",
    "in range %",
    "hot spots %",
    "reaction min",
    "breaches",
    "lost %",
)


def percent(share: Estimate) -> str:
    """A share with its interval, in percent."""
    if np.isnan(share.low):
        return f"{100.0 * share.value:.0f} %"
    return f"{100.0 * share.value:.0f} % ({100.0 * share.low:.0f} to {100.0 * share.high:.0f})"


def tables(summary: Mapping[str, ClimateSummary], compliant: str) -> Iterator[Table]:
    """Measures, then the mission's targets, for each climate."""
    for name, climate in summary.items():
        title = f"{name}, {climate.weeks} test weeks, means of a week; best validated rule: {climate.best_rule}; "
        title += f"air energy (room and miners' fans) saved against {compliant}"
        table = Table(title=title, title_justify="left")
        for column in COLUMNS:
            table.add_column(column, justify="left" if not column else "right")
        for row in climate.rows:
            table.add_row(*_cells(row))
        yield table
        yield _targets(name, climate, compliant)


def tell(summary: Mapping[str, ClimateSummary], compliant: str, console: Console) -> None:
    """Print all tables, and what was chosen on validation weeks; they want a width of 200."""
    for table in tables(summary, compliant):
        console.print(table)
    for name, climate in summary.items():
        for row in climate.rows:
            if row.params:
                chosen = ", ".join(f"{key} {value:g}" for key, value in row.params.items())
                console.print(f"{name}: {row.name} with {chosen}")


def _targets(name: str, climate: ClimateSummary, compliant: str) -> Table:
    """What the mission wants beside what everybody reached."""
    table = Table(title=f"{name}: the mission's targets, and whether the mean reaches them", title_justify="left")
    table.add_column("", justify="left")
    for target in TARGETS:
        table.add_column(target.what.format(compliant=compliant, best_rule=climate.best_rule), justify="right")
    table.add_row("wanted", *(target.wanted for target in TARGETS), end_section=True)
    for row in climate.rows:
        table.add_row(row.name, *(_reached(target, row) for target in TARGETS))
    return table


def _reached(target: Target, row: Row) -> str:
    value = target.value(row)
    if isinstance(value, Estimate):
        told = percent(value)
    elif np.isnan(value):
        return "hardly any there"
    else:
        told = f"{100.0 * value:.2f} %" if target.unit == "%" else f"{value:.1f} {target.unit}"
    answer = {None: "", True: "  yes", False: "  no"}
    return told + answer[target.reached(row)]


def _cells(row: Row) -> list[str]:
    m = row.means
    gap = ["", "", ""]
    if row.against_best is not None:
        d = row.against_best.difference
        gap = [usd(-d.estimate, signed=True), f"{usd(-d.high)} to {usd(-d.low)}", f"{row.against_best.p_adjusted:.3f}"]
    return [
        row.name,
        usd(m["cost_usd"]),
        *gap,
        f"{m['cooling_kwh']:,.0f}",
        f"{m['miner_fans_kwh']:,.0f}",
        percent(row.energy_saved),
        f"{m['pue']:.4f}",
        f"{m['water_m3']:.1f}",
        f"{m['temp_chip_sd_k']:.2f}",
        f"{100.0 * m['in_range']:.2f}",
        f"{100.0 * m['hot_spots']:.2f}",
        f"{m['reaction_min']:.1f}",
        f"{m['violations']:.1f}",
        f"{100.0 * m['lost_share']:.2f}",
    ]


def draw_suite(path: Path, summary: Mapping[str, ClimateSummary]) -> None:
    """Draw what everybody costs a week, and how often limits were broken, by climate.

    Args:
        path: PNG to write.
        summary: from :func:`agents.cooling.suite_summary.summarise`.
    """
    from matplotlib.figure import Figure

    names = [row.name for row in next(iter(summary.values())).rows]
    figure = Figure(figsize=(3.4 * len(summary) + 1.2, 0.55 * len(names) + 1.6), layout="constrained")
    axes = figure.subplots(1, len(summary), sharey=True, squeeze=False)[0]
    at = np.arange(len(names))
    for ax, (name, climate) in zip(axes, summary.items(), strict=True):
        for y, row in zip(at, climate.rows, strict=True):
            ax.barh(y, row.means["cost_usd"], color=COLORS[row.kind], alpha=0.85)
            told = f" {row.means['cost_usd']:,.0f}   {100.0 * (1.0 - row.means['in_range']):.2g} %"
            ax.text(row.means["cost_usd"], y, told, va="center", fontsize=8)
        best = next(row for row in climate.rows if row.name == climate.best_rule)
        ax.axvline(best.means["cost_usd"], color="0.3", ls=":", lw=1)
        ax.set(title=name, xlabel="cost of cooling, USD a week")
        ax.set_xlim(0.0, 1.45 * max(row.means["cost_usd"] for row in climate.rows))
    axes[0].set_yticks(at, names)
    axes[0].invert_yaxis()
    figure.suptitle(
        "Cost of cooling and share of steps with a broken limit (dotted: the best validated rule)", fontsize=11
    )
    write_whole(path, lambda beside: figure.savefig(beside, dpi=110))
