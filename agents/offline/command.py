"""``minesim data rollouts``: let rules and learned policies act, and keep it as Minari data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def rollouts(
    out: Annotated[Path, typer.Option(help="new folder, a root of Minari data sets")],
    scenario: Annotated[str, typer.Option(help="see `minesim data list`; with a tariff: ercot/mixed")] = "ercot/mixed",
    policies: Annotated[
        str, typer.Option(help="rules, separated by commas; empty for none")
    ] = "myopic_best_preset,peak_avoiding",
    learned: Annotated[Path | None, typer.Option(help="folder of a training run, recorded as well")] = None,
    noise: Annotated[
        float, typer.Option(help="above 0: record every policy once more with noise; share of blocks, or deviation")
    ] = 0.0,
    noise_kind: Annotated[
        str, typer.Option(help="price: hour-long blocks at a random price; action: Ornstein-Uhlenbeck on the action")
    ] = "price",
    envs: Annotated[int, typer.Option(help="episodes side by side (speed and memory, not the data)")] = 64,
    days: Annotated[float, typer.Option(help="length of an episode")] = 7.0,
    episodes: Annotated[int, typer.Option(help="of each data set")] = 64,
    seed: Annotated[int, typer.Option(help="other seed, other starts and draws")] = 0,
    site: Annotated[str, typer.Option(help="name of the site")] = "container",
    limits: Annotated[str, typer.Option(help="what the hardware may do: bridge, seed or free")] = "seed",
    difficulty: Annotated[str, typer.Option(help="easy, medium or hard")] = "medium",
    author: Annotated[str, typer.Option(help="for the record")] = "minesim",
    code_permalink: Annotated[str, typer.Option(help="for the record: link to the code that you run")] = "",
    force: Annotated[bool, typer.Option(help="replace a folder that this command wrote")] = False,
) -> None:
    """Record episodes of rules and learned policies in the training period as Minari data sets."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from agents.offline.minari_files import require_minari

    require_minari()
    from agents.offline.rollouts import RolloutOptions, write_rollouts

    options = RolloutOptions(
        scenario=scenario,
        policies=tuple(name.strip() for name in policies.split(",") if name.strip()),
        learned=learned,
        noise=noise,
        noise_kind=noise_kind,
        envs=envs,
        days=days,
        episodes=episodes,
        seed=seed,
        site=site,
        limits=limits,
        difficulty=difficulty,
        author=author,
        code_permalink=code_permalink,
    )
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("compiling the scenario", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        ids = write_rollouts(options, out, force=force, on_progress=show)
    for name in ids:
        typer.echo(name)
    typer.echo(f"In {out}; to load one with Minari, set MINARI_DATASETS_PATH to that folder.")
