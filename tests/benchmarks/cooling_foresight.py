"""How much a plan with the true weather ahead leaves on the table: ``make bench-cooling-foresight [CLIMATES=...]``.

No bound of a cooled hall is known: its state has 112 numbers, its cost kinks and several minima. So the same plan is
given ten times the descents, then settings held half as long, then three times the horizon; what it gains by each is
how far it was from what such plans can find. Half days of the test split, seven apart, so that nights and days take
turns; everybody on the same draws. A broken limit counts 5 USD a step, as where the benchmark chooses.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from agents.cooling.contenders import Place
from agents.cooling.episodes import play, week_rows
from agents.cooling.gradient_plan import GradientParams, GradientPlan
from agents.cooling.knowledge import knowledge_of
from agents.cooling.steady import SteadyBest
from agents.cooling.suite_settings import SuiteBench, SuiteSettings
from experiments.check_shield import CLIMATES
from minesim.bench.statistics import paired_interval
from minesim.control.policy import Policy
from minesim.envs.cooling_core import build_cooling_world

EPISODE_DAYS = 0.5
EVERY = 7
DESCENTS = 30
VARIANTS = {
    "gradient_foresight": GradientParams(),
    f"{DESCENTS} descents": GradientParams(descents=DESCENTS),
    f"{DESCENTS} descents, held 10 min": GradientParams(descents=DESCENTS, blocks=(2, 2, 2, 2), every=2),
    f"{DESCENTS} descents, 2 h ahead": GradientParams(descents=DESCENTS, blocks=(4, 4, 8, 8)),
}


def measure(climate: str, bench: SuiteBench, console: Console) -> None:
    """Play the half days of a climate and print what each plan costs."""
    weeks = Place(SuiteSettings(bench).world(climate))
    config = weeks.world.config
    world = build_cooling_world(replace(config, episode_days=EPISODE_DAYS))
    rows = week_rows(world, "test", EVERY)
    rules: dict[str, Policy] = {"steady_best": SteadyBest(knowledge_of(world), weeks.steady)}
    plans = {name: GradientPlan(world, params, rows, weeks.steady) for name, params in VARIANTS.items()}
    table = Table(title=f"{climate}: {len(rows)} half days of the test split, USD each", title_justify="left")
    for column in ("", "cost with fines", "steps that broke a limit", "less than gradient_foresight", "95 %", "core s"):
        table.add_column(column, justify="right" if column else "left")
    found: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
    for name, policy in {**rules, **plans}.items():
        begin = time.process_time()
        seen = play(policy, world, rows, np.arange(len(rows)))
        fined = seen["cost_usd"] + bench.fine_usd * seen["violations"]
        found[name] = fined, seen["violations"], time.process_time() - begin
        console.print(f"{climate} {name}: {fined.mean():.3f} USD, {found[name][2]:.0f} s")
    usual = found["gradient_foresight"][0]
    for name, (fined, broken, took_s) in found.items():
        less = paired_interval(usual, fined)
        ends = "" if name == "gradient_foresight" else f"{less.low:.3f} to {less.high:.3f}"
        row = (f"{fined.mean():.3f}", f"{broken.sum():.0f}", f"{less.estimate:+.3f}", ends, f"{took_s:.0f}")
        table.add_row(name, *row)
    console.print(table)


def main() -> None:
    """Measure the climates that are named."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    bench = SuiteBench()
    parser.add_argument("climates", nargs="*", default=list(CLIMATES))
    console = Console()
    for climate in parser.parse_args().climates:
        measure(climate, bench, console)


if __name__ == "__main__":
    main()
