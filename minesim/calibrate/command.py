"""``minesim calibrate``: what a room's telemetry says about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from minesim.catalog.layouts import layout
from minesim.errors import DataFileError, explain

FORMATS = (".png", ".svg", ".pdf")


def calibrate(
    telemetry: Annotated[Path, typer.Argument(help="Parquet file; its columns are described in docs/calibrate.md")],
    room: Annotated[str, typer.Option("--layout", help="layout (see `minesim layout list`) or TOML file")],
    out: Annotated[Path | None, typer.Option(help="JSON file for all numbers")] = None,
    plot: Annotated[Path | None, typer.Option(help="picture of before and after (.png, .svg, .pdf)")] = None,
    faults: Annotated[bool, typer.Option(help="look for weak fans, clogged miners, blocked openings, biases")] = True,
    sensors: Annotated[int, typer.Option(min=1, help="tell where so many more sensors belong")] = 1,
    fine: Annotated[bool, typer.Option(help="consult a 48 x 24 grid: more work, less error")] = True,
) -> None:
    """Fit a room to its sensors: gaps, leaks, mixing, heat, fans and named faults, each with its 90 % interval."""
    from minesim.calibrate.fit import FitSettings, calibrate_room
    from minesim.calibrate.next_sensor import doubt_of
    from minesim.calibrate.telemetry_file import read_telemetry
    from minesim.calibrate.tell import tell, tell_next, write_result

    plan = layout(room)
    if plot is not None and plot.suffix not in FORMATS:
        raise DataFileError(explain(f"the plot {str(plot)!r} is of unknown form", allowed=", ".join(FORMATS)))
    record = read_telemetry(telemetry, plan)
    settings = FitSettings(faults=faults)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def on_step(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        found = calibrate_room(record, settings if fine else replace(settings, fine=None), on_step)
    doubt = doubt_of(found, record)
    more = doubt.next(sensors)
    tell(found, record, console)
    tell_next(more, console)
    if out is not None:
        write_result(out, found, record, more)
        console.print(f"Numbers: {out}", highlight=False)
    if plot is not None:
        from minesim.calibrate.figures import draw_calibration

        draw_calibration(plot, found, record, doubt, more)
        console.print(f"Plot: {plot}", highlight=False)
