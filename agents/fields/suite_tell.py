"""The benchmark of field estimators for people: tables and a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from agents.fields.methods import method
from minesim.bench.files import write_whole
from minesim.bench.statistics import Estimate

TICKS_K = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
COLORS = {"easy": "C0", "hard": "C3"}


def kelvin(value: Estimate) -> str:
    """A mean with its interval."""
    if np.isnan(value.low):
        return f"{value.value:.2f}"
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def percent(value: Estimate) -> str:
    """A share, in percent."""
    return f"{100.0 * value.value:.0f}"


def tables(summary: Mapping[str, Any]) -> Iterator[Table]:
    """Errors, errors by layout, and errors against the best method without physics, for each case."""
    yield from (_errors(case, found["methods"]) for case, found in summary.items())
    yield from (_layouts(case, found["by_layout"]) for case, found in summary.items())
    yield from (_against(case, found) for case, found in summary.items() if "against_it" in found)


def tell(summary: Mapping[str, Any], console: Console) -> None:
    """Print the tables; they want a width of 130."""
    for table in tables(summary):
        console.print(table)


def _errors(case: str, methods: Mapping[str, Mapping[str, Estimate]]) -> Table:
    title = f"{case}: error of the unseen field and of the 6 h after, K; % of it inside 90 % intervals"
    table = Table(title=title, title_justify="left")
    for column in ("", "field", "forecast", "inside", "later", "width, K", "1 % worse than, K", "CPU s", "wall s"):
        table.add_column(column)
    for name, numbers in methods.items():
        table.add_row(
            method(name).name,
            kelvin(numbers["rmse_k"]),
            kelvin(numbers["forecast_rmse_k"]),
            percent(numbers["coverage"]),
            percent(numbers["forecast_coverage"]),
            f"{numbers['width_k'].value:.1f}",
            f"{numbers['worst_k'].value:.1f}",
            f"{numbers['seconds'].value:.1f}",
            f"{numbers['wall_s'].value:.1f}",
        )
    return table


def _layouts(case: str, by_layout: Mapping[str, Mapping[str, Mapping[str, Estimate]]]) -> Table:
    table = Table(title=f"{case}, by layout: field / forecast, K", title_justify="left")
    table.add_column("")
    for layout in by_layout:
        table.add_column(layout)
    for name in next(iter(by_layout.values())):
        numbers = [methods[name] for methods in by_layout.values()]
        table.add_row(
            method(name).name, *(f"{n['rmse_k'].value:.2f} / {n['forecast_rmse_k'].value:.2f}" for n in numbers)
        )
    return table


def _against(case: str, found: Mapping[str, Any]) -> Table:
    best = method(found["best_data_only"]).name
    table = Table(title=f"{case}: error over that of the best method without physics ({best})", title_justify="left")
    for column in ("", "field", "forecast"):
        table.add_column(column)
    for name, numbers in found["against_it"].items():
        table.add_row(method(name).name, kelvin(numbers["rmse_k"]), kelvin(numbers["forecast_rmse_k"]))
    return table


def draw_suite(path: Path, summary: Mapping[str, Any]) -> None:
    """Draw errors by method and case, and errors over the processor time that they took.

    Args:
        path: PNG to write.
        summary: from :func:`agents.fields.suite_summary.summarise`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FormatStrFormatter, NullFormatter

    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5), layout="constrained", width_ratios=(3, 2))
    for number, (case, found) in enumerate(summary.items()):
        names = list(found["methods"])
        at = np.arange(len(names)) + 0.36 * (number - 0.5)
        color = COLORS.get(case, f"C{number}")
        for key, style in (("rmse_k", {"marker": "o"}), ("forecast_rmse_k", {"marker": "D", "mfc": "none"})):
            numbers = [found["methods"][name][key] for name in names]
            value = np.array([n.value for n in numbers])
            ends = np.nan_to_num([[n.value - n.low, n.high - n.value] for n in numbers]).T
            label = f"{case}, {'unseen field' if key == 'rmse_k' else 'next 6 h'}"
            shift = 0.0 if key == "rmse_k" else 0.15
            left.errorbar(value, at + shift, xerr=ends, fmt="", ls="none", color=color, label=label, **style)
        seconds = [found["methods"][name]["seconds"].value for name in names]
        right.scatter(seconds, [found["methods"][n]["rmse_k"].value for n in names], color=color, label=case)
        for place, (name, x) in enumerate(zip(names, seconds, strict=True)):
            y = found["methods"][name]["rmse_k"].value
            right.annotate(str(place + 1), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=8)
    left.set_yticks(range(len(names)), [f"{method(name).name}  {place + 1}" for place, name in enumerate(names)])
    left.invert_yaxis()
    left.axvline(0.5, color="0.6", ls=":", lw=1)
    left.set(
        xlabel="RMSE over all cells, K (dotted: the goal, 0.5 K)", xscale="log", title="Error, 95 % interval over rooms"
    )
    left.legend(frameon=False, fontsize=8)
    right.set(xlabel="processor time of one room, s", xscale="log", ylabel="RMSE of the unseen field, K", yscale="log")
    right.set_title("Error and cost (numbers: methods as on the left)")
    for axis, (low, high) in ((left.xaxis, left.get_xlim()), (right.yaxis, right.get_ylim())):
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
        axis.set_ticks([at for at in TICKS_K if low <= at <= high])
    right.legend(frameon=False)
    write_whole(path, lambda beside: figure.savefig(beside, dpi=110))
    plt.close(figure)
