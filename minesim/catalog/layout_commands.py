"""``minesim layout``: which rooms there are, what stands in them, and how their air settles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from minesim.catalog.layouts import layout, layout_names
from minesim.physics.room_plan import RoomPlan

app = typer.Typer(no_args_is_help=True, help="Layouts of rooms: miners, fans, openings.")


@app.command("list")
def list_layouts() -> None:
    """List the ready-made layouts."""
    rows = []
    for name in layout_names():
        plan = layout(name)
        rows.append((name, plan.title, f"{_rated_kw(plan):,.0f}", plan.source))
    _show("Layouts", ("name", "what", "kW", "source"), rows)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="layout (see `minesim layout list`) or TOML file")],
    plot: Annotated[Path | None, typer.Option(help="picture (.png, .svg, .pdf); default: NAME.png here")] = None,
    miner_fans: Annotated[float, typer.Option(help="speed of the miners' fans, 0 to 1")] = 1.0,
    room_fans: Annotated[float, typer.Option(help="speed of the room's fans, 0 to 1")] = 1.0,
    dampers: Annotated[float, typer.Option(help="opening of the recirculation dampers, 0 to 1")] = 0.0,
    load: Annotated[float, typer.Option(help="share of rated power, 0 to 1")] = 1.0,
    outdoors: Annotated[float, typer.Option(help="outdoor air, degC")] = 25.0,
    supply: Annotated[float | None, typer.Option(help="air behind pad or coil, degC; default: outdoors")] = None,
    nx: Annotated[int, typer.Option(help="cells along")] = 96,
    ny: Annotated[int, typer.Option(help="cells across")] = 48,
) -> None:
    """Show what stands in a room and draw its steady temperatures and air at a setting."""
    from minesim.catalog.layout_figure import Setting, plot_layout, steady_room

    plan = layout(name)
    setting = Setting(miner_fans, room_fans, dampers, load, supply, outdoors)
    room = steady_room(plan, setting, nx, ny)
    console = Console()
    console.print(
        f"[bold]{plan.name}[/bold]: {plan.title}; {plan.length_m:g} x {plan.width_m:g} x {plan.height_m:g} m; "
        f"{sum(g.miners for g in plan.groups)} miners, {_rated_kw(plan):,.0f} kW; source: {plan.source}",
        highlight=False,
    )
    inlets = room.inlets_c
    _show(
        "Groups",
        ("group", "row", "x, m", "miners", "kW", "m3/s", "intake, degC"),
        [
            (
                g.name,
                g.row,
                f"{g.from_m:g} to {g.to_m:g}",
                str(g.miners),
                f"{g.miners * g.power_w / 1e3:.1f}",
                f"{g.miners * g.flow_m3_per_s:.2f}",
                f"{inlet_c:.1f}",
            )
            for g, inlet_c in zip(plan.groups, inlets, strict=True)
        ],
    )
    _show(
        "Fans, openings, dampers",
        ("name", "what", "where", "m, from to", "size"),
        [
            *((f.name, f.kind, f.wall, f"{f.from_m:g} to {f.to_m:g}", f"{f.flow_m3_per_s:g} m3/s") for f in plan.fans),
            *(
                (o.name, "opening", o.wall, f"{o.from_m:g} to {o.to_m:g}", f"{100 * o.free_share:g} % free")
                for o in plan.openings
            ),
            *(
                (d.name, "damper", d.row, f"{d.from_m:g} to {d.to_m:g}", f"{d.flow_m3_per_s:g} m3/s")
                for d in plan.dampers
            ),
        ],
    )
    console.print(
        f"Settled at {outdoors:g} degC outdoors: intakes {inlets.min():.1f} to {inlets.max():.1f} degC, hottest air "
        f"{room.air_c.max():.1f} degC, {100 * room.recirculated:.1f} % of the miners' air comes back hot.",
        highlight=False,
    )
    typer.echo(f"drawn into {plot_layout(room, plot if plot is not None else Path(f'{plan.name}.png'))}")


def _rated_kw(plan: RoomPlan) -> float:
    return sum(g.miners * g.power_w for g in plan.groups) / 1e3


def _show(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table, markup=False)
