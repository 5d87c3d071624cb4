"""Does a room's network gain by simulated rooms of its layout? ``python -m experiments.field_transfer``.

The same command again goes on where a stopped run stopped. See docs/pinn.md.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.benchmark.processes import one_thread
from agents.pinn.field_settings import PretrainSettings
from agents.pinn.field_transfer import pretrain
from agents.pinn.field_transfer_trial import SIMULATED, Cell, Trial, run_trial
from experiments.entry import STOPPED, StopSign, telling_errors
from minesim.bench.files import write_json


def tell(cells: list[Cell], trial: Trial, console: Console) -> None:
    """Means over rooms, one row for each network, its steps and its hours of readings."""
    table = Table(title=f"{trial.layout}, {trial.case}: mean of seeds {trial.seeds}", title_justify="left")
    for name in ("hours of readings", "begins with", "steps", "RMSE, K", "next 6 h, K", "by room", "s"):
        table.add_column(name, justify="left" if name == "begins with" else "right")
    for hours, name, steps in dict.fromkeys((c["hours"], c["name"], c["steps"]) for c in cells):
        same = [c for c in cells if (c["hours"], c["name"], c["steps"]) == (hours, name, steps)]
        errors, later, seconds = (np.mean([c[n] for c in same]) for n in ("rmse_k", "forecast_rmse_k", "seconds"))
        each = ", ".join(f"{c['forecast_rmse_k']:.2f}" for c in same)
        table.add_row(str(hours), name, f"{steps:,}", f"{errors:.2f}", f"{later:.2f}", each, f"{seconds:.0f}")
    console.print(table)


def main(
    layout: Annotated[str, typer.Option(help="layout of the rooms")] = "container_40ft",
    case: Annotated[str, typer.Option(help="easy or hard")] = "hard",
    first_seed: Annotated[int, typer.Option(help="of the hidden rooms")] = 200,
    seeds: Annotated[int, typer.Option(min=1, help="how many rooms")] = 2,
    out: Annotated[Path, typer.Option(help="folder of results")] = Path("outputs/transfer"),
) -> None:
    """Train networks on hidden rooms, from drawn weights and from simulated rooms, and compare their errors."""
    one_thread()
    console, sign = Console(), StopSign()
    trial = Trial(layout, case, tuple(range(first_seed, first_seed + seeds)))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with telling_errors("What is finished is kept: run the same command again."):
        with Progress(*columns, console=console) as bar:
            settings = PretrainSettings()
            task = bar.add_task("simulated rooms", total=settings.steps)
            with sign.listening():
                pretrained = pretrain(
                    layout,
                    SIMULATED,
                    settings,
                    out / "pretrained",
                    sign,
                    lambda step, missed: bar.update(task, completed=step),
                )
            if pretrained is None:
                sys.exit(STOPPED)
            task = bar.add_task("hidden rooms", total=len(list(trial.parts())))
            cells = run_trial(trial, pretrained, out / "parts", lambda: bar.advance(task))
        tell(cells, trial, console)
        console.print(f"Simulated rooms: {pretrained.processor_s:.0f} s of one core.")
        write_json(out / "transfer.json", {"cells": cells, "pretraining_s": pretrained.processor_s})


if __name__ == "__main__":
    typer.run(main)
