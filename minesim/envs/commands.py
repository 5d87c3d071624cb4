"""``minesim envs``: which environments there are, and what each of them observes, does, pays and takes as options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from minesim.envs.core import World

app = typer.Typer(help="Gymnasium environments.")


@app.callback(invoke_without_command=True)
def list_envs(ctx: typer.Context) -> None:
    """List the registered environments; those of a site with the sizes that they have without options."""
    if ctx.invoked_subcommand is not None:
        return
    from minesim.envs.describe import option_rows, summary
    from minesim.envs.registration import ENVS

    console = Console()
    for env_id, row in ENVS.items():
        console.print(f"[bold]{env_id}[/bold]: {row.summary} ({row.page})", highlight=False)
        if not row.is_site:
            continue
        about = summary(env_id, _world())
        console.print(
            f"  observation: {about.observations} numbers, action: {about.actions} numbers in -1 ... 1\n"
            f"  by default: site {about.site} ({about.cohorts} cohorts), scenario {about.scenario}, "
            f"{about.steps} steps an episode\n"
            f"  options: {', '.join(name for name, *_ in option_rows())}",
            highlight=False,
        )
    console.print("More: minesim envs describe ID", highlight=False)


@app.command("describe")
def describe(
    env_id: Annotated[str, typer.Argument(metavar="ID", help="for example minesim/HashrateTuning-v0")],
    scenario: Annotated[str | None, typer.Option(help="scenario, e.g. ercot/4cp; default: generated")] = None,
    site: Annotated[str, typer.Option(help="site")] = "container",
    level: Annotated[str, typer.Option("--difficulty", help="easy, medium or hard")] = "medium",
    renew: Annotated[
        Path | None, typer.Option(help="instead, write the generated tables of this Markdown page anew")
    ] = None,
) -> None:
    """Show channels with units, bounds and scale, action, reward terms, cost, options and info of an environment."""
    from minesim.control.observe import schema
    from minesim.envs import describe as told
    from minesim.envs.registration import ENVS, site_env_ids
    from minesim.errors import ParamsError, explain, nearest

    if env_id not in ENVS:
        raise ParamsError(explain(f"no environment {env_id!r}", fix=nearest(env_id, ENVS)))
    if env_id not in site_env_ids():
        typer.echo(f"{env_id}: {ENVS[env_id].summary}. Its page: {ENVS[env_id].page}")
        return
    if renew is not None:
        typer.echo(f"{renew}: {'tables renewed' if told.renew_page(renew) else 'nothing to renew'}")
        return
    options: dict[str, Any] = {"site": site, "difficulty": level}
    world = _world(**options) if scenario is None else _world(scenario=scenario, **options)
    about = told.summary(env_id, world)
    console = Console()
    console.print(
        f"[bold]{env_id}[/bold]: site {about.site} ({about.cohorts} cohorts), scenario {about.scenario}, "
        f"tariff {about.tariff}, {about.steps} steps an episode",
        highlight=False,
    )
    _show(
        console,
        f"Observation: {about.observations} numbers (M = {about.cohorts})",
        ("channel", "from", "n", "unit", "range", "seen as", "meaning"),
        told.channel_rows(schema(about.cohorts)),
    )
    console.print("Values outside the range are clipped; symlog(x) = sign(x) log(1 + |x|).", highlight=False)
    _show(console, f"Action: {about.actions} numbers", ("number", "range", "meaning"), told.action_rows(world))
    _show(console, "Reward", ("reward", "term in info", "weight", "unweighted"), told.reward_rows())
    console.print(f"Cost: {told.cost_text()}.", highlight=False)
    _show(console, "Options of gym.make", ("option", "default", "meaning"), told.option_rows())
    _show(console, "Difficulty", ("", "easy", "medium", "hard", "meaning"), told.difficulty_rows())
    _show(console, "Limits", ("", "free", "seed", "bridge", "meaning"), told.limits_rows())
    _show(console, "Options of reset", ("option", "meaning"), told.RESET_OPTIONS.items())
    _show(
        console,
        "info",
        ("key", "unit", "meaning"),
        [(name, told.unit_of(name), text) for name, text in told.INFO.items()],
    )


def _world(**options: Any) -> World:
    from minesim.envs.core import build_world
    from minesim.envs.single import make_config

    return build_world(make_config(**options))


def _show(console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace("`", "") for cell in row))
    console.print()
    console.print(table, markup=False)
