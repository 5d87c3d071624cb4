"""Episodes behind the shield in four climates, and the limits they break: ``python -m experiments.check_shield``.

Uniformly random actions and the steady rule play the same one-day episodes of a split. See docs/cooling.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.cooling.knowledge import knowledge_of
from agents.cooling.shield import Shield
from agents.cooling.shield_check import AnyAction, ShieldCheck, check_shield, spread_rows
from agents.cooling.steady import SteadyBest, steady_map
from experiments.entry import telling_errors
from minesim.bench.files import write_json
from minesim.envs.cooling_core import CoolingConfig, build_cooling_world
from minesim.tasks.cooling import LIMITS

CLIMATES = ("dallas", "singapore", "toronto", "aurora")
NOISE = {"noise_k": 0.2, "bias_k": 0.3, "drop_out": 0.01}
"""Errors of the air sensors, as in the benchmark (assumed)."""


def tell(found: Mapping[str, Mapping[str, ShieldCheck]], console: Console) -> None:
    """Steps that broke a limit, and those of them that were avoidable, as a table."""
    table = Table(title="Steps that broke a limit behind the shield", title_justify="left")
    columns = ("climate", "actions", "episodes", "with a break", "replaced", *(name[5:] for name in LIMITS))
    for column in (*columns, "avoidable", "an hour before"):
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for climate, each in found.items():
        for name, check in each.items():
            table.add_row(
                climate,
                name,
                f"{check.episodes:,}",
                f"{check.episodes_broken:,}",
                f"{check.changed:.1%}",
                *(f"{steps:,}" for steps in check.broken),
                f"{check.avoidable.sum():,}",
                f"{check.avoidable_1h.sum():,}",
            )
    console.print(table)
    checks = [check for each in found.values() for check in each.values()]
    total = np.sum([check.broken for check in checks])
    episodes, steps, hit = (
        sum(getattr(check, key) for check in checks) for key in ("episodes", "steps", "episodes_broken")
    )
    console.print(
        f"{episodes:,} episodes, {steps:,} control steps: {total:,} broken limits, in {hit:,} episodes. Avoidable: a "
        "setting of the shield's own grid, held since the start of its horizon (or an hour before) under the true "
        "weather, which the shield does not know, would have kept all limits."
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Count the limits that are broken behind the shield.")
    parser.add_argument("--episodes", type=int, default=1000, help="of one day, over all climates, for each policy")
    parser.add_argument("--climates", nargs="+", default=list(CLIMATES))
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/check_shield.json"))
    asked = parser.parse_args()
    console = Console()
    count = -(-asked.episodes // len(asked.climates))
    found: dict[str, dict[str, ShieldCheck]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with telling_errors("Nothing is kept."), Progress(*columns, console=console) as bar:
        for climate in asked.climates:
            world = build_cooling_world(CoolingConfig(scenario=climate, episode_days=1.0, **NOISE))
            knowledge = knowledge_of(world)
            rows, seeds = spread_rows(world, asked.split, count), np.arange(asked.seed, asked.seed + count)
            for policy in (
                AnyAction(knowledge, np.random.default_rng(asked.seed)),
                SteadyBest(knowledge, steady_map(world)),
            ):
                task = bar.add_task(f"{climate} {policy.name}", total=world.horizon_steps)
                check = check_shield(policy, Shield(world), world, rows, seeds, lambda task=task: bar.advance(task))
                found.setdefault(climate, {})[policy.name] = check
    tell(found, console)
    plain = {
        climate: {
            name: {
                key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(check).items()
            }
            for name, check in each.items()
        }
        for climate, each in found.items()
    }
    write_json(asked.out, {"limits": list(LIMITS), "split": asked.split, "seed": asked.seed, "found": plain})
    console.print(f"Numbers: {asked.out}")


if __name__ == "__main__":
    main()
