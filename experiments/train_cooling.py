"""Train soft actor-critic in cooled halls and judge it on validation weeks: ``python -m experiments.train_cooling``.

The same command again goes on where a stopped run stopped; a finished run only tells its result.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agents.cooling.learning.settings import TrainCoolingSettings
from experiments.entry import STOPPED, StopSign, read_settings, telling_errors
from minesim.bench.files import write_json
from minesim.bench.report import usd
from minesim.errors import MissingExtraError, explain

if TYPE_CHECKING:
    from agents.cooling.learning.training import Outcome


def train(settings: TrainCoolingSettings, console: Console) -> tuple[Path, bool]:
    """Train, judge, write ``evaluation.json``. Returns the folder and whether all steps are done."""
    try:
        from agents.cooling.learning.training import CoolingTraining
    except ImportError as error:
        raise MissingExtraError(
            explain("training needs stable-baselines3 and torch", fix="Run: pip install 'minesim[agents]'")
        ) from error
    training = CoolingTraining(settings, console.print)
    console.print(f"Run: [bold]{training.folder}[/bold]")
    sign = StopSign()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar, sign.listening():
        task = bar.add_task("steady states of the hall", total=training.total)

        def show(outcome: Outcome) -> None:
            best = outcome.judgements[outcome.best(settings.fine_usd)].fined(settings.fine_usd)
            told = f"best validation {best:,.0f} USD a week with fines"
            bar.update(task, completed=min(outcome.steps, training.total), description=told)

        outcome = training.run(sign, show)
    tell_result(training.folder, outcome, settings, console)
    return training.folder, outcome.finished


def tell_result(folder: Path, outcome: Outcome, settings: TrainCoolingSettings, console: Console) -> None:
    """Judgements beside the rule, on the terminal and in ``evaluation.json``."""
    table = Table(title=f"{settings.climate}, validation weeks: means of a week", title_justify="left")
    for column in ("", "cost, USD", "steps that broke a limit", "with fines, USD"):
        table.add_column(column, justify="left" if not column else "right")
    rows = [(f"{settings.agent.name}, {item.steps:,} steps", item) for item in outcome.judgements]
    if outcome.rule is not None:
        rows.insert(0, ("steady_best", outcome.rule))
    for name, item in rows:
        cost_usd = sum(item.cost_usd) / len(item.cost_usd)
        broken = sum(item.violations) / len(item.violations)
        table.add_row(name, usd(cost_usd), f"{broken:.1f}", usd(item.fined(settings.fine_usd)))
    console.print(table)
    console.print("The best policy was chosen on these weeks, so its figure flatters it; the test weeks decide.")
    write_json(folder / "evaluation.json", {"settings": asdict(settings), "outcome": asdict(outcome)})


@hydra.main(version_base="1.3", config_path="../conf/train_cooling", config_name="train_cooling")
def main(raw: DictConfig) -> None:
    """Entry point."""
    console = Console()
    with telling_errors("The last checkpoint is kept: run the same command again to go on."):
        folder, finished = train(read_settings(TrainCoolingSettings, raw), console)
    if not finished:
        console.print(f"Stopped; what was trained is kept in {folder}. Run the same command again to go on.")
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
