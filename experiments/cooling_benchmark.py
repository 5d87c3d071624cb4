"""Everybody who cools a hall on the same weeks of several climates: ``python -m experiments.cooling_benchmark``.

The same command goes on where a stopped run stopped. See docs/cooling.md.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agents.cooling.suite import run_suite
from agents.cooling.suite_settings import SuiteSettings
from agents.cooling.suite_summary import ClimateSummary, summarise
from agents.cooling.suite_tell import draw_suite, tables, tell
from experiments.entry import read_settings, telling_errors
from experiments.suite_report import tell_and_keep
from minesim.bench.files import write_text
from minesim.bench.pages import markdown

REPORT_WIDTH = 210


def run(settings: SuiteSettings, console: Console) -> dict[str, ClimateSummary]:
    """Play what is missing, then print, write and draw all numbers."""
    folder = Path(settings.out) / settings.bench.name
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("climates", total=len(settings.bench.climates))

        def on_done(climate: str, computed: int) -> None:
            bar.update(task, advance=1, description=climate)

        found = run_suite(settings, folder / "cells", on_done)
    summary = summarise(settings, found)
    tell_and_keep(folder, partial(tell, summary, settings.bench.compliant), settings, summary, console, REPORT_WIDTH)
    write_text(folder / "page.md", markdown(tables(summary, settings.bench.compliant)))
    draw_suite(folder / "costs.png", summary)
    console.print(f"Report, numbers, plot and parts: {folder}")
    return summary


@hydra.main(version_base="1.3", config_path="../conf/cooling_benchmark", config_name="cooling_benchmark")
def main(raw: DictConfig) -> None:
    """Entry point."""
    with telling_errors("What is finished is kept: run the same command again to go on from there."):
        run(read_settings(SuiteSettings, raw), Console())


if __name__ == "__main__":
    main()
