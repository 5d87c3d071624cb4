"""Responses of hidden miners for people: tables and a plot."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from agents.pinn.miner_response_judge import HORIZONS_MIN
from agents.pinn.miner_response_run import METHODS, SPLITS, Cell, best_rival, errors_k
from agents.pinn.steady import Floats
from minesim.bench.files import write_whole
from minesim.bench.statistics import mean_interval

CHANNELS = ("board", "chip")
TITLES = {"inner": "presets and air within what was recorded", "outer": "presets and air beyond it"}


def tables(miners: Mapping[str, Sequence[Cell]]) -> Iterator[Table]:
    """Errors of board and chip by horizon over all hidden miners, what the circuit gains by model, and its band."""
    every = [cell for cells in miners.values() for cell in cells]
    for split, channel in itertools.product(SPLITS, CHANNELS):
        yield _errors(every, split, channel, len(miners))
    for split, channel in itertools.product(SPLITS, CHANNELS):
        yield _gains(miners, every, split, channel)
    band = Table(title="Readings in the circuit's 90 % band, %", title_justify="left")
    for column in ("", *(TITLES[split] for split in SPLITS)):
        band.add_column(column, justify="right" if column else "left")
    for name, cells in (*miners.items(), ("all", every)):
        inside = [np.mean([cell["numbers"][split]["circuit"]["inside"] for cell in cells]) for split in SPLITS]
        band.add_row(name, *(f"{100.0 * share:.0f}" for share in inside))
    yield band


def tell_miners(miners: Mapping[str, Sequence[Cell]], console: Console) -> None:
    """Print all tables."""
    for table in tables(miners):
        console.print(table)


def _errors(cells: Sequence[Cell], split: str, channel: str, models: int) -> Table:
    title = f"{channel}, {TITLES[split]}: RMSE, K ({len(cells)} miners of {models} models)"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for minutes in HORIZONS_MIN:
        table.add_column(f"{minutes} min", justify="right")
    table.add_column("board's time to 90 %, error, min", justify="right")
    for method in METHODS:
        errors = errors_k(cells, split, method, channel)
        times = [cell["numbers"][split][method]["settling_min"] for cell in cells]
        known = [t for t in times if t is not None]
        late = f"{np.mean(known):.1f}" if known and method != "persistence" else ""
        table.add_row(method, *(_told(errors[:, horizon]) for horizon in range(errors.shape[1])), late)
    return table


def _gains(miners: Mapping[str, Sequence[Cell]], every: Sequence[Cell], split: str, channel: str) -> Table:
    """The circuit's error less that of the best other method over all miners, paired by miner."""
    table = Table(
        title=f"{channel}, {TITLES[split]}: circuit less the best other method, K (below 0: better)",
        title_justify="left",
    )
    table.add_column("")
    rivals = [best_rival(every, split, channel, horizon) for horizon in range(len(HORIZONS_MIN))]
    for minutes, rival in zip(HORIZONS_MIN, rivals, strict=True):
        table.add_column(f"{minutes} min, {rival}", justify="right")
    for name, cells in (*miners.items(), ("all", every)):
        mine = errors_k(cells, split, "circuit", channel)
        theirs = np.stack([errors_k(cells, split, rival, channel)[:, n] for n, rival in enumerate(rivals)], axis=1)
        table.add_row(name, *(_told(gap, signed=True) for gap in (mine - theirs).T))
    return table


def _told(values: Floats, *, signed: bool = False) -> str:
    """A mean over miners with its 95 % interval."""
    found, form = mean_interval(values, block_weeks=1), "+.2f" if signed else ".2f"
    ends = "" if np.isnan(found.low) else f" ({found.low:{form}} to {found.high:{form}})"
    return f"{found.estimate:{form}}{ends}"


def plot_miner(path: Path, model: str, cell: Cell) -> None:
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
