"""A picture of a room at a steady setting: temperatures, air, miners, fans (needs the extra ``report``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY
from minesim.errors import DataFileError, MissingExtraError, ParamsError, explain
from minesim.physics.airflow import ROW_DEPTH_M, AirFlows, Grid, recirculated_share, velocity_at_m_per_s
from minesim.physics.psychrometrics import heat_capacity_air_j_per_m3_k
from minesim.physics.room_fine import advance_fine, fine_room
from minesim.physics.room_grid import inlet_temps_c, room_model
from minesim.physics.room_plan import Opening, RoomFan, RoomPlan
from minesim.units import PRESSURE_SEA_LEVEL_PA

Floats = npt.NDArray[Any]
FORMATS: Final = (".png", ".svg", ".pdf")
_AIR: Final = ("#eef4fb", "#fdf0d0", "#fbc47f", "#ee8a5a")
"""Light enough for arrows and names."""
_FAN, _OPENING, _DAMPER = "#0b3d91", "#1b7837", "#7b3294"


@dataclass(frozen=True)
class Setting:
    """How a room is run, all groups and fans alike; fractions of full speed, 0 to 1.

    Attributes:
        miner_fans, room_fans, dampers: speeds and opening.
        load: share of rated power.
        temp_supply_c: air behind pad or coil, degC; outdoor air if None.
        temp_amb_c: outdoor air, degC.
    """

    miner_fans: float = 1.0
    room_fans: float = 1.0
    dampers: float = 0.0
    load: float = 1.0
    temp_supply_c: float | None = None
    temp_amb_c: float = 25.0


@dataclass(frozen=True)
class SteadyRoom:
    """A room that has settled at a setting.

    Attributes:
        plan, setting: what was computed.
        grid, flows: cells and their air.
        air_c: temperatures, degC, (nx, ny).
        inlets_c: intake of each group, degC, (M,).
        recirculated: share of the miners' air that comes back.
    """

    plan: RoomPlan
    setting: Setting
    grid: Grid
    flows: AirFlows
    air_c: Floats
    inlets_c: Floats
    recirculated: float


def steady_room(plan: RoomPlan, setting: Setting, nx: int = 96, ny: int = 48) -> SteadyRoom:
    """Settle a room at a setting, by the fine scheme of limited second order, at sea-level pressure.

    Raises:
        ParamsError: a fraction outside 0 ... 1, or a grid that the room does not fit.
        MissingExtraError: scipy is not installed.
    """
    for name in ("miner_fans", "room_fans", "dampers", "load"):
        value = getattr(setting, name)
        if not 0.0 <= value <= 1.0:
            raise ParamsError(explain(f"{name} is {value:g}", allowed="0 to 1", origin="layout setting"))
    for name in ("temp_amb_c", "temp_supply_c"):
        value = getattr(setting, name)
        if value is not None and not -60.0 <= value <= 60.0:
            raise ParamsError(explain(f"{name} is {value:g} C", allowed="-60 to 60 C", origin="layout setting"))
    if not plan.groups:
        raise ParamsError(explain(f"layout {plan.name!r} has no miners", fix="Add an entry under groups."))
    supply_c = setting.temp_amb_c if setting.temp_supply_c is None else setting.temp_supply_c
    model = room_model(plan, nx, ny)
    flows = [
        setting.miner_fans * np.array([g.miners * g.flow_m3_per_s for g in plan.groups]),
        setting.room_fans * np.array([f.flow_m3_per_s for f in plan.fans]),
        setting.dampers * np.array([d.flow_m3_per_s for d in plan.dampers]),
    ]
    heat_w = setting.load * np.array([g.miners * g.power_w for g in plan.groups])
    rho_cp = float(heat_capacity_air_j_per_m3_k(supply_c, PRESSURE_SEA_LEVEL_PA))
    room = fine_room(model, np.concatenate(flows), rho_cp, math.inf)
    air_c = advance_fine(room, np.zeros((nx, ny)), heat_w, supply_c, setting.temp_amb_c).air_c
    share = float(recirculated_share(model.network, room.flows, xp=NUMPY))
    return SteadyRoom(plan, setting, model.grid, room.flows, air_c, inlet_temps_c(model, room.equations, air_c), share)


def plot_layout(room: SteadyRoom, path: str | Path) -> Path:
    """Draw temperatures, air velocity, miners, fans, openings and dampers.

    Args:
        room: from :func:`steady_room`.
        path: png, svg or pdf.

    Returns:
        The path written.

    Raises:
        DataFileError: another format, or the file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise DataFileError(explain(f"cannot draw into {path.name!r}", allowed=", ".join(FORMATS)))
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            explain("matplotlib is not installed", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    plan = room.plan
    figure = Figure(figsize=(13.0, 3.0 + 11.0 * plan.width_m / plan.length_m))
    axes = figure.add_subplot()
    draw_room(axes, room)
    figure.colorbar(axes.images[0], ax=axes, label="air, °C", shrink=0.7, pad=0.02)
    beside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        figure.savefig(beside, dpi=120, bbox_inches="tight")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DataFileError(explain(f"cannot write {path}: {error}", fix="Choose a folder that exists.")) from error
    return path


def draw_room(axes: Any, room: SteadyRoom) -> None:
    """Draw a settled room into matplotlib axes, with a title that tells its flows and temperatures."""
    plan, setting = room.plan, room.setting
    draw_field(axes, plan, room.grid, room.flows, room.air_c)
    fans, moved = (
        share * sum(flows)
        for share, flows in (
            (setting.room_fans, [f.flow_m3_per_s for f in plan.fans if f.kind == "exhaust"]),
            (setting.miner_fans, [g.miners * g.flow_m3_per_s for g in plan.groups]),
        )
    )
    heat_kw = setting.load * sum(g.miners * g.power_w * g.air_share for g in plan.groups) / 1e3
    axes.set_title(
        f"{plan.title}\n{heat_kw:,.0f} kW to the air, fans {fans:.1f} m³/s, miners {moved:.1f} m³/s, "
        f"{100 * room.recirculated:.0f} % recirculated\noutdoors {setting.temp_amb_c:g} °C, "
        f"intakes {room.inlets_c.min():.1f} to {room.inlets_c.max():.1f} °C, hottest {room.air_c.max():.1f} °C",
        fontsize=10,
    )


def draw_field(
    axes: Any, plan: RoomPlan, grid: Grid, flows: AirFlows, air_c: Floats, *, keys: bool = True, **bounds_c: float
) -> None:
    """Draw the field of a room with miners, fans, openings and air velocity into matplotlib axes.

    Args:
        axes: where.
        plan: the room.
        grid, flows: cells and their air.
        air_c: temperatures, degC, (nx, ny).
        keys: whether to explain lines and arrows below.
        bounds_c: ``vmin`` and ``vmax`` of the colours, degC; those of the field by default.
    """
    from matplotlib.colors import LinearSegmentedColormap

    extent = (0.0, plan.length_m, 0.0, plan.width_m)
    colours = LinearSegmentedColormap.from_list("air", _AIR)
    look = {"origin": "lower", "extent": extent, "interpolation": "nearest", "aspect": "equal", **bounds_c}
    axes.imshow(air_c.T, cmap=colours, **look)
    _draw_air(axes, plan, grid, flows, key=keys)
    depth_m = 0.5 * ROW_DEPTH_M
    for group in plan.groups:
        row = plan.row(group.row)
        width_m = group.to_m - group.from_m
        _box(axes, group.from_m, row.y_m - depth_m, width_m, 2.0 * depth_m, "#404040", "white")
        axes.text(
            group.from_m + 0.5 * width_m,
            row.y_m,
            group.name,
            ha="center",
            va="center",
            fontsize=7,
            color="white",
            zorder=4,
        )
    for damper in plan.dampers:
        row = plan.row(damper.row)
        toward = -1.0 if row.blows == "north" else 1.0
        y = row.y_m + toward * 1.5 * depth_m
        axes.plot([damper.from_m, damper.to_m], [y, y], color=_DAMPER, linewidth=2.0, linestyle=":")
    margin_m = 0.012 * plan.length_m
    for device in plan.mounted:
        _draw_mounted(axes, plan, device, margin_m)
    axes.set(
        xlim=(-2.5 * margin_m, plan.length_m + 2.5 * margin_m),
        ylim=(-3.5 * margin_m, plan.width_m + 3.5 * margin_m),
        xlabel="x, m",
        ylabel="y, m",
    )
    if not keys:
        return
    shown = [("fan", _FAN), ("opening", _OPENING)] + ([("damper", _DAMPER)] if plan.dampers else [])
    handles = [axes.plot([], [], color=colour, linewidth=4.0, label=label)[0] for label, colour in shown]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, _below(axes)), ncols=len(shown), fontsize=8)


def _below(axes: Any) -> float:
    """A place under the axis labels, in heights of the axes."""
    return -0.55 / float(axes.get_position().height * axes.figure.get_figheight())


def _draw_air(axes: Any, plan: RoomPlan, grid: Grid, flows: AirFlows, *, key: bool) -> None:
    across = max(6, round(36 * plan.width_m / plan.length_m))
    x, y = np.meshgrid(
        (np.arange(36) + 0.5) * plan.length_m / 36, (np.arange(across) + 0.5) * plan.width_m / across, indexing="ij"
    )
    along_m, across_m = velocity_at_m_per_s(grid, flows, x.ravel(), y.ravel(), xp=NUMPY)
    speed = np.hypot(along_m, across_m)
    typical = float(np.quantile(speed, 0.9)) or 1.0
    shorten = np.minimum(1.0, 1.6 * typical / np.maximum(speed, 1e-9))
    arrows = axes.quiver(
        x.ravel(),
        y.ravel(),
        along_m * shorten,
        across_m * shorten,
        angles="xy",
        scale_units="xy",
        scale=typical * 36 / (0.95 * plan.length_m),
        width=0.0014,
        color="#1a1a1a",
        alpha=0.75,
    )
    if key:
        label = f"{typical:.1f} m/s"
        axes.quiverkey(arrows, 0.9, _below(axes) - 0.02, typical, label, labelpos="E", coordinates="axes")


def _draw_mounted(axes: Any, plan: RoomPlan, device: RoomFan | Opening, margin_m: float) -> None:
    colour = _FAN if isinstance(device, RoomFan) else _OPENING
    if isinstance(device, RoomFan) and device.wall == "roof":
        size_m = (device.to_m - device.from_m, device.y_to_m - device.y_from_m)
        _box(axes, device.from_m, device.y_from_m, *size_m, "none", colour)
        centre = device.from_m + 0.5 * size_m[0], device.y_from_m + 0.5 * size_m[1]
        axes.text(*centre, device.name, ha="center", va="center", fontsize=7, color=colour, zorder=4)
        return
    middle, width = 0.5 * (device.from_m + device.to_m), device.to_m - device.from_m
    inside = 0.0 if device.wall in ("south", "west") else (plan.width_m if device.wall == "north" else plan.length_m)
    sign = -1.0 if device.wall in ("south", "west") else 1.0
    low = inside - margin_m if sign < 0.0 else inside
    upright = device.wall in ("west", "east")
    if upright:
        _box(axes, low, device.from_m, margin_m, width, colour, colour)
    else:
        _box(axes, device.from_m, low, width, margin_m, colour, colour)
    place = inside + sign * 2.2 * margin_m
    axes.text(
        *((place, middle) if upright else (middle, place)),
        device.name,
        ha="center",
        va="center",
        fontsize=7,
        color=colour,
        zorder=4,
        rotation=90 if upright else 0,
    )


def _box(axes: Any, x_m: float, y_m: float, width_m: float, height_m: float, fill: str, edge: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x_m, y_m), width_m, height_m, facecolor=fill, edgecolor=edge, linewidth=1.0, zorder=3))
