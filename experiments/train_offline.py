"""Learn from recorded rollouts and judge on validation weeks.

``python -m experiments.train_offline scenario=ercot/mixed dataset=FOLDER seed=0``, with a folder that
``minesim data rollouts`` wrote. The same command again goes on where a stopped run stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agents.offline.settings import OfflineSettings
from experiments.entry import STOPPED, StopSign, read_settings, telling_errors
from experiments.train import tell_result
from minesim.errors import MissingExtraError, explain


def train(settings: OfflineSettings, console: Console) -> tuple[Path, bool]:
    """Learn, judge, write ``evaluation.json``. Returns the folder and whether all updates are done."""
    try:
        import torch

        from agents.offline.training import OfflineTraining, judged_world
        from agents.offline.training import Progress as State
        from agents.rl.evaluation import Judge
    except ImportError as error:
        raise MissingExtraError(
            explain(
                f"learning needs {error.name}, which is not installed", fix="Run: pip install 'minesim[agents,offline]'"
            )
        ) from error
    torch.set_num_threads(settings.trainer.threads)
    world = judged_world(settings)
    judge = Judge(world, settings.validation)
    training = OfflineTraining(settings, world, judge, tell=console.print)
    console.print(f"Run: [bold]{training.folder}[/bold]")
    for name, profit in training.decisions.profit_usd_per_week.items():
        console.print(f"Data, training period: {name} {profit:,.0f} USD/week", highlight=False)
    console.print(f"{len(training.decisions.first):,} decisions")
    rules = judge.rules()
    sign = StopSign()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar, sign.listening():
        task = bar.add_task("learn", total=training.total)

        def show(state: State) -> None:
            told = f"best validation {state.best_usd_per_week:,.0f} USD/week"
            bar.update(task, completed=state.steps, description=told)

        outcome = training.run(sign, show)
    if outcome.trained_s > 0.0:
        rate = outcome.trained_steps / outcome.trained_s
        console.print(f"{outcome.trained_steps:,} updates in {outcome.trained_s:.0f} s ({rate:,.0f} a second)")
    if outcome.evaluations:
        tell_result(training, outcome, rules, settings, console)
    return training.folder, outcome.finished


@hydra.main(version_base="1.3", config_path="../conf/offline", config_name="train_offline")
def main(raw: DictConfig) -> None:
    """Entry point."""
    console = Console()
    with telling_errors("The last checkpoint is kept: run the same command again to go on."):
        folder, finished = train(read_settings(OfflineSettings, raw), console)
    if not finished:
        console.print(f"Stopped; what was learned is kept in {folder}. Run the same command again to go on.")
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
