"""What the tuning benchmark says of single units: a card each, and fronts of profit, energy per hash and wear."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agents.bo.suite_settings import SuiteSettings
from agents.bo.suite_summary import Row
from minesim.bench.files import write_text, write_whole
from minesim.tuning.device import Vector


def write_cards(path: Path, settings: SuiteSettings, tuned: Sequence[Row]) -> None:
    """Write a card for each tuned unit, one line of CSV.

    A card holds the unit, its knobs, and what the setting does on the noise-free unit: hashrate, power, energy per
    hash, stability (1 less the errors of the worst board), stress (ageing relative to stock), hottest reading, whether
    all limits are kept, and trials and money that it took.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, (key, cell) in enumerate(tuned):
        at, stock = cell["true"]["recommended"], cell["true"]["stock"]
        card = {
            "model": key.model,
            "unit": key.seed,
            "temp_amb_c": key.temp_amb_c,
            **dict(zip(settings.problem(key).names, cell["setting"], strict=True)),
            "hashrate_ths": at["hashrate_ths"],
            "power_w": at["power_w"],
            "efficiency_j_per_th": at["power_w"] / at["hashrate_ths"],
            "stability": 1.0 - at["error_max"],
            "stress_rel": at["ageing_rel"] / stock["ageing_rel"],
            "temp_max_c": at["temp_max_c"],
            "within_limits": at["safe"],
            "trials": cell["trials"],
            "hours": cell["hours"],
            "cost_usd": cell["cost_usd"],
        }
        if number == 0:
            writer.writerow(card)
        writer.writerow(f"{value:.6g}" if isinstance(value, float) else value for value in card.values())
    write_text(path, text.getvalue())


def draw_fronts(path: Path, searched: Sequence[Row], temp_amb_c: float) -> None:
    """Draw the fronts found in one ambient, a panel for each unit, beside stock and the optimum of profit.

    Args:
        path: PNG to write; nothing is written where no front was searched.
        searched: rows of ``bo_pareto``.
        temp_amb_c: the ambient to draw.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [(key, cell) for key, cell in searched if key.temp_amb_c == temp_amb_c]
    if not rows:
        return
    columns = min(4, len(rows))
    figure, grid = plt.subplots(
        -(-len(rows) // columns), columns, figsize=(4.2 * columns, 7.2), squeeze=False, layout="constrained"
    )
    for axes in grid.flat[len(rows) :]:
        axes.set_axis_off()
    shown = None
    for axes, (key, cell) in zip(grid.flat, rows, strict=False):
        stock = cell["true"]["stock"]
        stress = [at["ageing_rel"] / stock["ageing_rel"] for at in cell["front"]]
        shown = axes.scatter(
            *_places(cell["front"]), c=stress, cmap="plasma", vmin=0.0, vmax=1.5, label="front, measured settings"
        )
        for name, marker in (("stock", "s"), ("optimum", "*")):
            label = {"stock": "stock", "optimum": "safe optimum of profit"}[name]
            axes.scatter(
                *_places([cell["true"][name]]), marker=marker, s=130, facecolors="none", edgecolors="k", label=label
            )
        axes.set(title=f"{key.model} #{key.seed}", xlabel="J/TH", ylabel="profit, USD/day")
    grid.flat[0].legend(frameon=False, fontsize=8)
    if shown is not None:
        figure.colorbar(shown, ax=grid, label="stress: ageing over that at stock", shrink=0.6)
    figure.suptitle(f"Profit, energy per hash and wear in air of {temp_amb_c:g} C, without noise")
    write_whole(path, lambda beside: figure.savefig(beside, dpi=100))
    plt.close(figure)


def _places(points: Sequence[dict[str, float | bool]]) -> tuple[Vector, Vector]:
    efficiency = np.array([at["power_w"] / at["hashrate_ths"] for at in points], dtype=np.float64)
    return efficiency, np.array([at["score"] for at in points], dtype=np.float64)
