"""Does advice on the next sensor pay? Hidden rooms with 1 and 4 more sensors: ``python -m experiments.next_sensor``.

The same command again goes on where a stopped run stopped. See docs/calibrate.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.benchmark.processes import one_thread
from agents.fields.next_sensor import NONE, RULES, Cell, Trial, differences, run_room
from experiments.entry import telling_errors
from minesim.bench.cells import PlainStore
from minesim.bench.files import write_json
from minesim.bench.statistics import Interval

NUMBERS = ("rmse_k", "forecast_rmse_k")


def told(interval: Interval) -> str:
    """A difference with its interval."""
    return f"{interval.estimate:+.2f} ({interval.low:+.2f} to {interval.high:+.2f})"


def tell(trial: Trial, rooms: Sequence[Mapping[str, Cell]], console: Console) -> None:
    """Errors by rule and count, less those of no further sensor and of a random place."""
    rows = f"{len(rooms)} rooms ({trial.layout}, {trial.case}), {trial.sensors} sensors, {trial.train} rows of readings"
    table = Table(title=f"Error of the air without sensors after more of them, {rows}", title_justify="left")
    for name in ("sensors by", "more", "RMSE, K", "after, K", "in 90 %", "less none, K", "less random, K"):
        table.add_column(name, justify="left" if name == "sensors by" else "right")
    for rule, count in trial.parts():
        part = f"{rule}+{count}"
        means = [np.mean([room[part][name] for room in rooms]) for name in (*NUMBERS, "coverage")]
        versus = [f"{NONE}+0", f"random+{count}"] if rule != NONE else []
        table.add_row(
            rule,
            str(count),
            f"{means[0]:.2f}",
            f"{means[1]:.2f}",
            f"{100.0 * means[2]:.0f} %",
            *("" if other == part else told(differences(rooms, part, other, "rmse_k")) for other in versus),
        )
    console.print(table)


def main(
    layout: Annotated[str, typer.Option(help="layout of the rooms")] = "container_40ft",
    case: Annotated[str, typer.Option(help="easy or hard")] = "hard",
    first_seed: Annotated[int, typer.Option(help="of the hidden rooms")] = 200,
    seeds: Annotated[int, typer.Option(min=1, help="how many rooms")] = 4,
    sensors: Annotated[int, typer.Option(min=1, help="that hang from the beginning")] = 8,
    out: Annotated[Path, typer.Option(help="folder of results")] = Path("outputs/next_sensor"),
) -> None:
    """Fit hidden rooms anew with sensors added by each rule, and compare the errors of the air."""
    one_thread()
    console = Console()
    trial = Trial(layout, case, tuple(range(first_seed, first_seed + seeds)), sensors)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with telling_errors("What is finished is kept: run the same command again."):
        store, rooms = PlainStore(out / "parts"), []
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("fits", total=seeds * len(trial.parts()))
            for key in trial.rooms():
                bar.update(task, description=key.title)
                rooms.append(run_room(trial, key, store, lambda: bar.advance(task)))
        tell(trial, rooms, console)
        compared = {
            f"{rule}+{count} less {other}": {
                name: asdict(differences(rooms, f"{rule}+{count}", other, name)) for name in NUMBERS
            }
            for rule in RULES
            for count in trial.more
            for other in (f"{NONE}+0", *(f"{rival}+{count}" for rival in RULES if rival != rule))
        }
        write_json(out / "next_sensor.json", {"trial": asdict(trial), "rooms": rooms, "differences": compared})
        console.print(f"Numbers: {out / 'next_sensor.json'}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
