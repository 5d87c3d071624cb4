"""``minesim place``: a better order of the miners in a hall, and what it would save."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from minesim.errors import DataFileError, ParamsError, explain

if TYPE_CHECKING:
    from minesim.placement.judge import Judge, Verdict
    from minesim.placement.search import Placed

FORMATS = (".png", ".svg", ".pdf")


def place(
    layout_name: Annotated[str, typer.Option("--layout", help="layout or TOML file")] = "container_40ft",
    site: Annotated[str, typer.Option(help="whose cohorts stand in its groups, in order")] = "container",
    climate_name: Annotated[
        str, typer.Option("--climate", help="climate or scenario; its training hours count")
    ] = "dallas",
    broken_fan: Annotated[list[str] | None, typer.Option(help="fan that stands still; may be repeated")] = None,
    speed: Annotated[float | None, typer.Option(help="hold the room fans at this share; default: the cheapest")] = None,
    drawn: Annotated[int, typer.Option(help="orders drawn at random, to compare with")] = 64,
    seed: Annotated[int, typer.Option(help="of the random orders")] = 0,
    plot: Annotated[Path | None, typer.Option(help="picture of both orders (.png, .svg, .pdf)")] = None,
) -> None:
    """Look for a better order of the miners: swaps of groups of equal size, judged by steady states of the hall."""
    import numpy as np

    from minesim.catalog.layouts import layout
    from minesim.envs.cooling_core import PAD
    from minesim.hall import cohorts_in, furnish
    from minesim.placement.judge import Settings, judge_of
    from minesim.placement.search import improve, placed, random_orders
    from minesim.scenario.climates import climate
    from minesim.site_spec import build_site, site_spec

    if plot is not None and plot.suffix not in FORMATS:
        raise DataFileError(explain(f"the plot {str(plot)!r} is of unknown form", allowed=", ".join(FORMATS)))
    if speed is not None and not 0.0 <= speed <= 1.0:
        raise ParamsError(explain(f"speed is {speed:g}", allowed="0 to 1"))
    if drawn < 1:
        raise ParamsError(explain(f"drawn is {drawn}", allowed="1 or more"))
    plan, spec = layout(layout_name), site_spec(site)
    fleet = build_site(replace(spec, cohorts=cohorts_in(plan, spec.cohorts)))
    judge = judge_of(plan, furnish(plan, fleet, pad=PAD), climate(climate_name), broken_fans=broken_fan or ())
    parts = len(judge.hours.share)
    held = None if speed is None else Settings(np.full(parts, speed), np.zeros(parts))
    console = Console()
    with console.status("choosing settings") as status:
        before = placed(judge, np.arange(len(plan.groups)), held)
        others = judge.judge(
            random_orders(judge.hall.miners.count, drawn, np.random.default_rng(seed)), before.settings
        )
        status.update("swapping")
        after = improve(judge, before, fleet.curves.models, hold=held is not None)
    _tell(console, judge, before, others, after)
    _tell_moves(console, [group.name for group in plan.groups], fleet.curves.models, before, after)
    if plot is not None:
        from minesim.placement.figure import draw_orders

        draw_orders(plot, plan, judge, fleet.curves.models, before, after)
        console.print(f"Plot: {plot}", highlight=False)


def _tell(console: Console, judge: Judge, before: Placed, others: Verdict, after: Placed) -> None:
    table = Table(title="Cost of cooling, energy to ageing, by order", title_justify="left")
    for name in ("order", "USD a year", "limits broken, % of hours", "hottest chip, °C", "widest spread of intakes, K"):
        table.add_column(name, justify="left" if name == "order" else "right")
    count = len(others.usd_per_year)
    cheapest, dearest = int(others.usd_per_year.argmin()), int(others.usd_per_year.argmax())
    rows: list[tuple[str, Verdict, int]] = [
        ("as it stands", before.verdict, 0),
        (f"cheapest of {count} at random", others, cheapest),
        (f"dearest of {count} at random", others, dearest),
        ("after swaps", after.verdict, 0),
    ]
    for label, verdict, n in rows:
        spread_k = (verdict.temp_inlet_c[n].max(axis=-1) - verdict.temp_inlet_c[n].min(axis=-1)).max()
        table.add_row(
            label,
            f"{verdict.usd_per_year[n]:,.0f}",
            f"{100.0 * verdict.broken[n]:.1f}",
            f"{verdict.temp_chip_c[n].max():.1f}",
            f"{spread_k:.2f}",
        )
    console.print(table)
    weather = judge.hours.weather
    speeds = ", ".join(
        f"{speed:.2f} at {temp_c:.0f}" for speed, temp_c in zip(before.settings.speed, weather.temp_c, strict=True)
    )
    console.print(f"Room fans as it stands, share of full speed at outdoor °C: {speeds}", highlight=False)
    if max(before.broken, after.broken) > 0.0:
        console.print(
            "Limits are broken in some hours. Where miners trip and start again there is no steady state: what such "
            "hours cost is that of one moment, and a saving in them is not to be trusted."
        )
    saved = before.usd_per_year - after.usd_per_year
    share = 100.0 * saved / before.usd_per_year
    console.print(f"[bold]Saved: {saved:,.0f} USD a year, {share:.3f} %[/bold]", highlight=False)


def _tell_moves(console: Console, groups: list[str], models: tuple[str, ...], before: Placed, after: Placed) -> None:
    moved = [m for m in range(len(groups)) if models[after.order[m]] != models[before.order[m]]]
    if not moved:
        console.print("No swap is worth its while: leave the miners where they are.")
        return
    table = Table(title="Where to put what", title_justify="left")
    for name in ("group", "now", "better"):
        table.add_column(name)
    for m in moved:
        table.add_row(groups[m], models[before.order[m]], models[after.order[m]])
    console.print(table)
