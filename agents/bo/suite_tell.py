"""The tuning benchmark for people: tables and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from agents.bo.suite_cell import regret_course
from agents.bo.suite_summary import Rate, Row
from minesim.bench.files import write_whole
from minesim.bench.statistics import Estimate

TARGETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "hashrate_gain": "5 to 15",
        "efficiency_gain": "5 to 20",
        "stability": "over 95",
        "profiles": "under 5 %",
        "hashrate_spread": "under 10",
    }
)
"""What the project set out to reach, %."""


def percent(value: Estimate, digits: int = 0) -> str:
    """An estimate with its interval, in percent; ``unsafe`` for an infinite one."""
    if not np.isfinite(value.value):
        return "unsafe" if value.value > 0 else "-"
    if np.isnan(value.low):
        return f"{100 * value.value:.{digits}f}"
    high = f"{100 * value.high:.{digits}f}" if np.isfinite(value.high) else "unsafe"
    return f"{100 * value.value:.{digits}f} ({100 * value.low:.{digits}f} to {high})"


def counted(value: Rate) -> str:
    """Events of cases and the bound of their rate."""
    return f"{value.events}/{value.of} (<{100 * value.bound:.2g} %)"


def tell(summary: Mapping[str, Any], console: Console) -> None:
    """Print the tables; they want a width of 130."""
    methods = summary["methods"]
    console.print(_found("All methods, equal trials", methods))
    console.print(_broken("What they broke and took", methods))
    if "bo_on_taught" in summary:
        title = "Taught by units tuned before; the same units untaught; the next unit after the teachers"
        parts = {"bo_taught": methods["bo_taught"], "bo": summary["bo_on_taught"], "next unit": summary["next_unit"]}
        console.print(_found(title, parts))
    console.print(_found("bo by model", summary["by_model"]))
    console.print(_found("bo by ambient, C", summary["by_temp_amb_c"]))
    table = Table(title="bo less another: share of units found, percentage points", title_justify="left")
    for column in ("", "10 trials", "20", "30"):
        table.add_column(column)
    for name, numbers in summary["bo_against"].items():
        table.add_row(name, *(percent(numbers[f"found_{trial}"]) for trial in (10, 20, 30)))
    console.print(table)
    console.print(_gains(summary["gains"]))
    if summary["curves"]:
        console.print(_curves(summary["curves"]))


def _found(title: str, methods: Mapping[str, Any]) -> Table:
    table = Table(title=f"{title}: median regret, % of stock revenue; % of units within 1 %", title_justify="left")
    for column in ("", "units", "regret at 10", "at 30", "found by 10", "by 20", "by 30"):
        table.add_column(column)
    for name, numbers in methods.items():
        regret = (percent(numbers[f"regret_{trial}"], 2) for trial in (10, 30))
        found = (percent(numbers[f"found_{trial}"]) for trial in (10, 20, 30))
        table.add_row(name, str(numbers["rows"]), *regret, *found)
    return table


def _broken(title: str, methods: Mapping[str, Any]) -> Table:
    table = Table(title=f"{title}: trials, with the 95 % upper bound", title_justify="left")
    for column in ("", "trips", "too hot", "any limit", "units with any", "unsafe at end", "hours", "USD", "CPU s"):
        table.add_column(column)
    keys = ("trips", "temp_violations", "violations", "rows_broken", "unsafe_at_end")
    for name, numbers in methods.items():
        means = (f"{numbers['hours']:.1f}", f"{numbers['cost_usd']:.2f}", f"{numbers['seconds']:.1f}")
        table.add_row(name, *(counted(numbers[key]) for key in keys), *means)
    return table


def _gains(by_spread: Mapping[str, Any]) -> Table:
    table = Table(title="bo against stock by spread of the silicon, %", title_justify="left")
    table.add_column("")
    for spread in by_spread:
        table.add_column(f"spread x{spread}")
    table.add_column("the mission's target")
    columns = list(by_spread.values())
    for name in ("profit", "hashrate", "power", "efficiency", "stability"):
        table.add_row(f"{name}, bo", *(percent(numbers[name], 1) for numbers in columns), TARGETS.get(name, ""))
    for name, told in (("hashrate_gain", "hashrate at stock's power"), ("efficiency_gain", "J/TH at stock's hashrate")):
        found = [numbers[f"possible_{name}"] for numbers in columns]
        cells = (f"{percent(f['mean'], 1)} of {f['rows']} rows" for f in found)
        table.add_row(f"possible: {told}", *cells, TARGETS[name])
    table.add_row("unsafe profiles", *(counted(numbers["profiles_unsafe"]) for numbers in columns), TARGETS["profiles"])
    table.add_row("stock beyond a limit", *(counted(numbers["stock_unsafe"]) for numbers in columns))
    spreads = (f"{100 * numbers['hashrate_spread']:.1f}" for numbers in columns)
    table.add_row("hashrate between units", *spreads, TARGETS["hashrate_spread"])
    return table


def _curves(curves: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title="What each model's own curve allows (catalog, median unit)", title_justify="left")
    for column in ("", "J/TH at stock", "least J/TH", "less, %", "at % of stock hashrate"):
        table.add_column(column)
    for model, at in curves.items():
        less = 1.0 - at["least_j_per_th"] / at["stock_j_per_th"]
        joules = (f"{at[name]:,.4g}" for name in ("stock_j_per_th", "least_j_per_th"))
        table.add_row(model, *joules, f"{100 * less:.1f}", f"{100 * at['hashrate_rel']:.0f}")
    return table


def draw_suite(path: Path, rows: Mapping[str, Sequence[Row]], summary: Mapping[str, Any]) -> None:
    """Draw, by method, the share of units found and the median regret by trial, and broken limits.

    Args:
        path: PNG to write.
        rows: by method.
        summary: from :func:`agents.bo.suite_summary.summarise`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(16, 4.8), layout="constrained")
    colors = {name: f"C{i}" for i, name in enumerate(rows)}
    for name, found in rows.items():
        if not found:
            continue
        course = np.array([regret_course(cell) for _, cell in found])
        trials = np.arange(1, course.shape[1] + 1)
        style = {"label": name, "lw": 2.6 if name.startswith("bo") else 1.3, "color": colors[name]}
        left.plot(trials, 100.0 * (course <= 0.01).mean(axis=0), **style)
        low, median, high = np.quantile(course, [0.25, 0.5, 0.75], axis=0, method="nearest")
        seen = np.where(np.isfinite(median), 100.0 * median, np.nan)
        middle.plot(trials, seen, **style)
        if name == "bo":
            middle.fill_between(
                trials, 100.0 * low, 100.0 * np.minimum(high, 1.0), color=colors[name], alpha=0.15, lw=0
            )
    left.axhline(90.0, color="0.6", ls=":", lw=1)
    left.set(xlabel="trials", ylabel="% of units within 1 % of the safe optimum", ylim=(-2, 102), title="Found")
    middle.axhline(1.0, color="0.6", ls=":", lw=1)
    middle.set(
        xlabel="trials",
        ylabel="regret, % of stock revenue",
        yscale="log",
        ylim=(1e-3, None),
        title="Median regret (bo: middle half shaded)",
    )
    left.legend(frameon=False, fontsize=8, ncols=2)
    names = [name for name in rows if rows[name]]
    parts = (("trips", "trip", "C3"), ("temp_violations", "too hot", "C1"), ("violations", "any limit", "0.6"))
    for offset, (key, label, color) in zip((-0.27, 0.0, 0.27), parts, strict=True):
        rates = [summary["methods"][name][key] for name in names]
        values = np.array([100.0 * r.events / r.of for r in rates])
        bounds = np.array([100.0 * r.bound for r in rates])
        right.barh(np.arange(len(names)) + offset, values, 0.26, color=color, label=label)
        right.hlines(np.arange(len(names)) + offset, values, bounds, color="k", lw=1)
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    right.set(xlabel="% of trials; line: 95 % upper bound", title="Limits broken")
    right.legend(frameon=False)
    write_whole(path, lambda beside: figure.savefig(beside, dpi=110))
    plt.close(figure)
