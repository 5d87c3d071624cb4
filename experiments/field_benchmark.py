"""Every estimator of temperature fields on hidden rooms: ``python -m experiments.field_benchmark bench=fields_v1``.

The same command goes on where a stopped run stopped.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agents.fields.hidden import RoomKey
from agents.fields.suite import run_suite
from agents.fields.suite_settings import SuiteSettings
from agents.fields.suite_summary import summarise
from agents.fields.suite_tell import draw_suite, tables, tell
from experiments.entry import read_settings, telling_errors
from experiments.suite_report import tell_and_keep
from minesim.bench.files import write_text
from minesim.bench.pages import markdown

REPORT_WIDTH = 130


def run(settings: SuiteSettings, console: Console) -> dict[str, Any]:
    """Compute what is missing, then print, write and draw all numbers."""
    folder = Path(settings.out) / settings.bench.name
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(settings.bench.name, total=len(settings.rooms()))

        def on_done(key: RoomKey, computed: int) -> None:
            bar.update(task, advance=1, description=key.title)

        cells = run_suite(settings, folder / "cells", on_done)
    summary = summarise(settings, cells)
    tell_and_keep(folder, partial(tell, summary), settings, summary, console, REPORT_WIDTH)
    write_text(folder / "page.md", markdown(tables(summary)))
    draw_suite(folder / "methods.png", summary)
    console.print(f"Report, numbers, plot and parts: {folder}")
    return summary


@hydra.main(version_base="1.3", config_path="../conf/field_benchmark", config_name="field_benchmark")
def main(raw: DictConfig) -> None:
    """Entry point."""
    with telling_errors("What is finished is kept: run the same command again to go on from there."):
        run(read_settings(SuiteSettings, raw), Console())


if __name__ == "__main__":
    main()
