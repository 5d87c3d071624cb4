"""Episodes behind the shield in four climates, and the limits they break: ``python -m experiments.check_shield``.

Uniformly random actions and the steady rule play the same one-day episodes of a split; the same command goes on where
a stopped run stopped. See docs/cooling.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.cooling import shield_check
from agents.cooling.knowledge import knowledge_of
from agents.cooling.shield import Shield
from agents.cooling.shield_check import AnyAction, ShieldCheck, check_shield, spread_rows, weaker_hall
from agents.cooling.steady import SteadyBest, steady_map
from agents.cooling.suite import code_hash
from experiments.entry import telling_errors
from minesim.bench.cells import PlainStore
from minesim.bench.files import content_hash, source_hash, write_json
from minesim.control.policy import Policy
from minesim.envs.cooling_core import CoolingConfig, CoolingWorld, build_cooling_world
from minesim.tasks.cooling import LIMITS

CLIMATES = ("dallas", "singapore", "toronto", "aurora")
NOISE: Final = {"noise_k": 0.2, "bias_k": 0.3, "drop_out": 0.01}
"""Errors of the air sensors, as in the benchmark (assumed)."""

POLICIES: Final[Mapping[str, Callable[[CoolingWorld, np.random.Generator], Policy]]] = MappingProxyType(
    {
        AnyAction.name: lambda world, rng: AnyAction(knowledge_of(world), rng),
        SteadyBest.name: lambda world, rng: SteadyBest(knowledge_of(world), steady_map(world)),
    }
)


def tell(found: Mapping[str, Mapping[str, ShieldCheck]], console: Console) -> None:
    """Steps that broke a limit, and those of them that were avoidable, as a table."""
    table = Table(title="Steps that broke a limit behind the shield", title_justify="left")
    columns = (
        "climate",
        "actions",
        "episodes",
        "with a break",
        "replaced",
        *(name[5:] for name in LIMITS),
    )
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
                f"{sum(check.avoidable):,}",
                f"{sum(check.avoidable_1h):,}",
            )
    console.print(table)
    checks = [check for each in found.values() for check in each.values()]
    total = np.sum([check.broken for check in checks])
    episodes, steps, hit = (
        sum(getattr(check, key) for check in checks) for key in ("episodes", "steps", "episodes_broken")
    )
    console.print(
        f"{episodes:,} episodes, {steps:,} control steps: {total:,} broken limits, in {hit:,} episodes. "
        "Avoidable: a setting of the shield's own grid, held since "
        "the start of its horizon (or an hour before) under the true weather, which the shield does not know, would "
        "have kept all limits."
    )


def code() -> str:
    """Hash of the code that the counts depend on."""
    return content_hash([code_hash(), source_hash(Path(shield_check.__file__), suffixes=(".py",))])


def main(
    episodes: Annotated[int, typer.Option(min=1, help="Of one day, over all climates, for each policy.")] = 1000,
    climates: Annotated[list[str] | None, typer.Option("--climate", help="One of them; all four by default.")] = None,
    split: Annotated[str, typer.Option(help="Period of the climates.")] = "test",
    seed: Annotated[int, typer.Option(help="Of sensors and random actions.")] = 0,
    weaker: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share by which halls are worse than modelled.")
    ] = 0.0,
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("outputs/check_shield"),
) -> None:
    """Count the limits that are broken behind the shield."""
    console, store = Console(), PlainStore(out / "parts")
    names = climates or CLIMATES
    count = -(-episodes // len(names))
    found: dict[str, dict[str, ShieldCheck]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    kept = "What is finished is kept: run the same command again to go on from there."
    with telling_errors(kept), Progress(*columns, console=console) as bar:
        for climate, name in itertools.product(names, POLICIES):
            spec = {"climate": climate, "policy": name, "episodes": count, "split": split, "seed": seed}
            spec |= {"weaker": weaker, "noise": NOISE, "code": code()}
            part = store.load(spec)
            if part is None:
                part = asdict(play(climate, name, split, count, seed, weaker, bar))
                store.save(spec, part)
            found.setdefault(climate, {})[name] = ShieldCheck(**part)
    tell(found, console)
    plain = {climate: {name: asdict(check) for name, check in each.items()} for climate, each in found.items()}
    write_json(out / "summary.json", {"limits": list(LIMITS), "split": split, "weaker": weaker, "found": plain})
    console.print(f"Numbers: {out}")


def play(climate: str, name: str, split: str, count: int, seed: int, weaker: float, bar: Progress) -> ShieldCheck:
    """One policy's days in a climate."""
    world = build_cooling_world(CoolingConfig(scenario=climate, episode_days=1.0, **NOISE))
    rows, task = spread_rows(world, split, count), bar.add_task(f"{climate} {name}", total=world.horizon_steps)
    policy = POLICIES[name](world, np.random.default_rng(seed))
    true = weaker_hall(world, weaker)
    return check_shield(policy, Shield(world), true, rows, np.arange(seed, seed + count), lambda: bar.advance(task))


if __name__ == "__main__":
    typer.run(main)
