"""Train a policy and judge it on validation weeks: ``python -m experiments.train task=hashrate agent=ppo``.

The same command again goes on where a stopped run stopped; a finished run only tells its result.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agents.rl.settings import TrainSettings
from experiments.entry import STOPPED, StopSign, read_settings, telling_errors
from minesim.bench.files import write_json
from minesim.bench.report import usd
from minesim.errors import MissingExtraError, explain


def train(settings: TrainSettings, console: Console) -> tuple[Path, bool]:
    """Train, judge, write ``evaluation.json``. Returns the folder and whether all steps are done."""
    try:
        import torch

        from agents.rl.evaluation import Judge
        from agents.rl.training import Progress as State
        from agents.rl.training import Training, validation_world
    except ImportError as error:
        raise MissingExtraError(
            explain("training needs stable-baselines3 and torch", fix="Run: pip install 'minesim[agents]'")
        ) from error
    torch.set_num_threads(settings.trainer.threads)
    judge = Judge(validation_world(settings), settings.validation)
    training = Training(settings, judge=judge, tell=console.print)
    console.print(f"Run: [bold]{training.folder}[/bold]")
    rules = judge.rules()
    sign = StopSign()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar, sign.listening():
        task = bar.add_task("train", total=training.total)

        def show(state: State) -> None:
            told = f"{state.stage}: training {state.profit_usd_per_week:,.0f} USD/week"
            told += f", best validation {state.best_usd_per_week:,.0f}"
            bar.update(task, completed=min(state.steps, state.total), description=told)

        outcome = training.run(sign, show)
    if outcome.trained_s > 0.0:
        rate = outcome.trained_steps / outcome.trained_s
        console.print(f"{outcome.trained_steps:,} control steps in {outcome.trained_s:.0f} s ({rate:,.0f} a second)")
    if outcome.evaluations:
        tell_result(training, outcome, rules, settings, console)
    return training.folder, outcome.finished


def tell_result(training, outcome, rules, settings: TrainSettings, console: Console) -> None:  # type: ignore[no-untyped-def]
    """Best policy beside the rules, on the terminal and in ``evaluation.json``."""
    from agents.rl.evaluation import against

    best = outcome.evaluations[outcome.best]
    pairs = against(outcome.best_profit(), rules, settings.agent.name)
    table = Table(title=f"{settings.scenario}, validation weeks: USD a week, 95 % intervals", title_justify="left")
    for column in ("", "net profit", f"{settings.agent.name} less it", "95 % interval", "p (Holm)"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row(f"{settings.agent.name} ({best.steps:,} steps)", usd(best.mean), "", "", "")
    for pair in pairs:
        gap = pair.difference
        told = (usd(gap.estimate, signed=True), f"{usd(gap.low)} to {usd(gap.high)}", f"{pair.p_adjusted:.3f}")
        table.add_row(pair.baseline, usd(float(rules[pair.baseline].mean())), *told)
    console.print(table)
    console.print("The policy was chosen on these weeks, so its figure flatters it; the test weeks decide.")
    write_json(
        training.folder / "evaluation.json",
        {
            "settings": asdict(settings),
            "steps": outcome.steps,
            "finished": outcome.finished,
            "best_steps": best.steps,
            "weeks": training.judge.starts,
            "profit_usd": {settings.agent.name: best.profit, **rules},
            "evaluations": [{"steps": item.steps, "profit_usd_per_week": item.mean} for item in outcome.evaluations],
            "comparisons": [
                {"against": pair.baseline, **asdict(pair.difference), "p_adjusted": pair.p_adjusted} for pair in pairs
            ],
        },
    )


@hydra.main(version_base="1.3", config_path="../conf/train", config_name="train")
def main(raw: DictConfig) -> None:
    """Entry point."""
    console = Console()
    with telling_errors("The last checkpoint is kept: run the same command again to go on."):
        folder, finished = train(read_settings(TrainSettings, raw), console)
    if not finished:
        console.print(f"Stopped; what was trained is kept in {folder}. Run the same command again to go on.")
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
