"""Every tuning method on every unit of a frozen set: ``python -m experiments.tune_benchmark bench=overclock_v1``.

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

from agents.bo.suite import Work, run_suite, stages
from agents.bo.suite_cards import draw_fronts, write_cards
from agents.bo.suite_settings import PARETO, TAUGHT, SuiteSettings
from agents.bo.suite_summary import rows_of, summarise
from agents.bo.suite_tell import draw_suite, tell
from experiments.entry import read_settings, telling_errors
from experiments.suite_report import tell_and_keep

REPORT_WIDTH = 150
FRONTS_TEMP_AMB_C = 20.0
"""Air whose fronts are drawn, where the benchmark has it, degC."""


def run(settings: SuiteSettings, console: Console) -> dict[str, Any]:
    """Compute what is missing, then print, write and draw all numbers."""
    folder = Path(settings.out) / settings.bench.name
    parts = sum(len(item.methods) for stage in stages(settings) for item in stage)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(settings.bench.name, total=parts)

        def on_done(item: Work, computed: int) -> None:
            bar.update(task, advance=len(item.methods), description=item.key.title)

        cells = run_suite(settings, folder / "cells", on_done)
    summary = summarise(settings, cells)
    tell_and_keep(folder, partial(tell, summary), settings, summary, console, REPORT_WIDTH)
    keys = settings.unit_keys()
    rows = {name: rows_of(cells, keys, name) for name in (*settings.bench.methods, TAUGHT)}
    draw_suite(folder / "methods.png", rows, summary)
    write_cards(folder / "cards.csv", settings, rows["bo"])
    fronts = rows_of(cells, settings.front_keys(), PARETO)
    draw_fronts(folder / "fronts.png", fronts, FRONTS_TEMP_AMB_C)
    console.print(f"Report, numbers, plot and parts: {folder}")
    return summary


@hydra.main(version_base="1.3", config_path="../conf/tune_benchmark", config_name="tune_benchmark")
def main(raw: DictConfig) -> None:
    """Entry point."""
    with telling_errors("What is finished is kept: run the same command again to go on from there."):
        run(read_settings(SuiteSettings, raw), Console())


if __name__ == "__main__":
    main()
