"""Responses of hidden miners for people: tables and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from agents.pinn.miner_response_judge import HORIZONS_MIN
from agents.pinn.miner_response_run import METHODS, SPLITS, interval
from minesim.bench.files import write_whole

TITLES = {"inner": "presets and air within what was recorded", "outer": "presets and air beyond it"}


def tell_miners(model: str, cells: list[dict[str, Any]], console: Console) -> None:
    """Print errors of board and chip by horizon, with 95 % intervals over hidden miners."""
    for split in SPLITS:
        for channel in ("board", "chip"):
            table = Table(
                title=f"{model}, {channel}, {TITLES[split]}: RMSE, K ({len(cells)} miners)", title_justify="left"
            )
            table.add_column("")
            for minutes in HORIZONS_MIN:
                table.add_column(f"{minutes} min", justify="right")
            table.add_column("board's time to 90 %, error, min", justify="right")
            for method in METHODS:
                numbers = []
                for horizon in range(len(cells[0]["numbers"][split]["circuit"]["rmse_k"][channel])):
                    found = interval(cells, split, method, channel, horizon)
                    ends = "" if np.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
                    numbers.append(f"{found.estimate:.2f}{ends}")
                times = [cell["numbers"][split][method]["settling_min"] for cell in cells]
                known = [t for t in times if t is not None]
                late = f"{np.mean(known):.1f}" if known and method != "persistence" else ""
                table.add_row(method, *numbers, late)
            console.print(table)
        inside = np.mean([cell["numbers"][split]["circuit"]["inside"] for cell in cells])
        console.print(f"{100 * inside:.0f} % of the readings lie in the circuit's 90 % band.")


def plot_miner(path: Path, model: str, cell: dict[str, Any]) -> None:
    """Draw a PNG: board and chip after a change, a start and a stop, with prediction and band, of one hidden miner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 6.5), layout="constrained")
    axes = figure.subplots(len(SPLITS), 3, squeeze=False)
    band = np.array(cell["curves"]["band"])
    for row, split in zip(axes, SPLITS, strict=True):
        curves = cell["curves"][split]
        for number, (axis, kind) in enumerate(zip(row, curves["kinds"], strict=False)):
            for channel, (name, color) in enumerate((("chip", "C3"), ("board", "C0"))):
                truth, circuit, order = (
                    np.array(curves[key])[number, :, channel] for key in ("truth", "circuit", "first order")
                )
                minutes = np.arange(1, len(truth) + 1) * (HORIZONS_MIN[-1] / len(truth))
                axis.plot(minutes, truth, color=color, linewidth=1.0, label=f"{name}, truth")
                axis.plot(minutes, circuit, color=color, linestyle="--", label=f"{name}, circuit")
                axis.fill_between(
                    minutes, circuit - band[:, channel], circuit + band[:, channel], color=color, alpha=0.2, lw=0
                )
                axis.plot(minutes, order, color=color, linestyle=":", linewidth=1.0, label=f"{name}, first order")
            axis.set_title(f"{kind}: {TITLES[split]}", fontsize=9)
            axis.set(xlabel="min after the last reading before it", ylabel="degC")
            axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=7)
    figure.suptitle(f"{model}: step responses of a hidden miner, with the 90 % band of a validation")
    write_whole(path, lambda beside: figure.savefig(beside, dpi=110))
