"""Tune one unit on the twin: ``python -m experiments.optimise task=overclock model="Antminer S19j Pro" trials=30``.

The state is written after every trial; the same command goes on where a stopped run stopped.
"""

from __future__ import annotations

import datetime as dt
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.bo.figures import draw_front, draw_run
from agents.bo.lessons import FILE, lesson_json, read_lesson
from agents.bo.methods import method
from agents.bo.run import Result, carry_out, judge
from agents.bo.schedule import tuned_curve
from agents.bo.schedule_compare import BEST, compare, draw_schedule, gain_over, market_days
from agents.bo.settings import OptimiseSettings
from agents.bo.study import Method, Study, load_study
from experiments.entry import STOPPED, StopSign, read_settings, telling_errors
from minesim.bench.files import write_json
from minesim.tuning.optimum import safe_optimum
from minesim.tuning.problem import TuningProblem
from minesim.tuning.profile import make_profile


def run_method(
    problem: TuningProblem, chosen: Method, settings: OptimiseSettings, path: Path, console: Console, stopped: StopSign
) -> Study:
    """Carry a study out, or go on with it, and keep it on disk after each trial."""
    study = load_study(path, problem, chosen) if path.exists() else Study(problem, chosen, settings.seed)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(chosen.name, total=settings.trials, completed=len(study.told))
        while len(study.told) < settings.trials and not stopped():
            carry_out(study, min(len(study.trials) + settings.batch, settings.trials), settings.batch)
            study.save(path)
            bar.update(task, completed=len(study.told))
    return study


def tell(study: Study, results: dict[str, Result], console: Console) -> None:
    """Print what was found beside stock and the safe optimum, and how the methods compare."""
    problem, best = study.problem, next(iter(results.values()))
    settings = {"stock": problem.stock(), "recommended": best.setting, "safe optimum": best.optimum.setting}
    table = Table(title=f"{problem.serial} at {problem.temp_amb_c:g} C, without noise", title_justify="left")
    table.add_column("")
    for name in settings:
        table.add_column(name, justify="right")
    true = {name: problem.truth(setting) for name, setting in settings.items()}
    for i, knob in enumerate(problem.names):
        table.add_row(knob, *(f"{setting[i]:.5g}" for setting in settings.values()))
    table.add_row("hashrate_ths", *(f"{at.hashrate_ths[0]:.4g}" for at in true.values()))
    table.add_row("power_w", *(f"{at.power_w[0]:.0f}" for at in true.values()))
    table.add_row("efficiency_j_per_th", *(f"{at.power_w[0] / at.hashrate_ths[0]:.4g}" for at in true.values()))
    table.add_row("largest error ratio", *(f"{at.error_ratio.max():.2%}" for at in true.values()))
    table.add_row("hottest reading, C", *(f"{at.temp_c.max():.0f}" for at in true.values()))
    table.add_row(problem.objective.unit, *(f"{problem.score(at)[0]:.3f}" for at in true.values()))
    table.add_row("within limits", *("yes" if problem.safe(x)[0] else "no" for x in settings.values()))
    console.print(table)
    compared = Table(
        title="Regret after 10 trials and at the end; trials to 1 %; trials that broke a limit", title_justify="left"
    )
    for column in ("method", "after 10", "at end", "to 1 %", "broken", "trips", "hours", "USD"):
        compared.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for name, result in results.items():
        early = result.regret[min(10, len(result.regret)) - 1]
        compared.add_row(
            name,
            f"{early:.2%}",
            f"{result.regret[-1]:.2%}",
            str(result.trials_to(0.01) or "-"),
            str(result.violations),
            str(result.trips),
            f"{result.hours:.1f}",
            f"{result.cost_usd:.2f}",
        )
    console.print(compared)


def keep_profile(study: Study, path: Path) -> None:
    """Write the profile of the recommended setting, where a trial measured it within the limits."""
    problem, setting = study.problem, study.recommend()
    for trial in reversed(study.told):
        measured = trial.measured
        if (
            measured is not None
            and np.allclose(trial.setting, setting)
            and problem.measured_score(measured) > -math.inf
        ):
            told = f"{study.method.name}, {len(study.told)} trials on the twin"
            make_profile(problem, setting, measured, dt.datetime.now(dt.UTC), told).save(path)
            return


def schedule(study: Study, scenario: str, folder: Path, console: Console) -> dict[str, float]:
    """Compare hourly power from the tuned curve with rules; returns USD a day by rule."""
    days = market_days(scenario)
    curve = tuned_curve(study.problem, study.told)
    courses = compare(study.problem, curve, days)
    table = Table(title=f"{len(curve.power_w)} settings, {len(days)} days of {scenario}", title_justify="left")
    for column in ("rule", "USD/day", "schedule earns more, USD/day", "stops"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for name, course in courses.items():
        gain = gain_over(courses, name)
        more = "" if name == BEST else f"{gain.estimate:.3f} ({gain.low:.3f} to {gain.high:.3f})"
        table.add_row(name, f"{course.value_usd.mean():.3f}", more, str(course.stops))
    console.print(table)
    draw_schedule(folder / "schedule.png", days, courses)
    return {name: float(course.value_usd.mean()) for name, course in courses.items()}


def optimise(settings: OptimiseSettings, console: Console) -> bool:
    """Tune, judge, write and draw. Returns whether all trials were carried out."""
    problem = settings.problem()
    folder = settings.folder(problem)
    console.print(f"Run: [bold]{folder}[/bold]")
    chosen = method(settings.method)
    if settings.lessons:
        taught = tuple(read_lesson(Path(name), problem) for name in settings.lessons)
        chosen = replace(chosen, lessons=taught)  # type: ignore[type-var]
    if settings.method.startswith("bo"):
        import torch

        torch.set_num_threads(1)
    optimum = safe_optimum(problem)
    sign, results = StopSign(), {}
    studies: dict[str, Study] = {}
    with sign.listening():
        for each in (chosen, *(method(name) for name in settings.compare if name != settings.method)):
            study = run_method(problem, each, settings, folder / f"{each.name}.json", console, sign)
            if sign():
                return False
            studies[each.name] = study
            results[each.name] = judge(study, optimum)
    main_study = studies[chosen.name]
    tell(main_study, results, console)
    draw_run(folder / "trials.png", main_study, results)
    if settings.method == "bo_pareto":
        draw_front(folder / "front.png", main_study)
    if settings.method.startswith("bo"):
        surrogate = chosen.surrogate(problem, main_study.told)  # type: ignore[attr-defined]
        write_json(folder / FILE, lesson_json(problem, surrogate.lesson()))
    scheduled = schedule(main_study, settings.schedule, folder, console) if settings.schedule else {}
    keep_profile(main_study, folder / "profile.json")
    write_json(
        folder / "result.json",
        {
            "settings": asdict(settings),
            "serial": problem.serial,
            "knobs": problem.names,
            "schedule": scheduled,
            "methods": {name: {**asdict(r), "trials_to_1pct": r.trials_to(0.01)} for name, r in results.items()},
        },
    )
    console.print(f"Results, plots and state: {folder}")
    return True


@hydra.main(version_base="1.3", config_path="../conf/optimise", config_name="optimise")
def main(raw: DictConfig) -> None:
    """Entry point."""
    with telling_errors("The state after the last trial is kept: run the same command again to go on."):
        finished = optimise(read_settings(OptimiseSettings, raw), Console())
    if not finished:
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
