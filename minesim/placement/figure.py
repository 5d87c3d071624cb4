"""A picture of two orders of miners in a hall, in the hottest hours (needs the extra ``report``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from minesim.arrays import NUMPY
from minesim.catalog.layout_figure import draw_field
from minesim.errors import DataFileError, MissingExtraError, explain
from minesim.files import write_whole
from minesim.physics.airflow import ROW_DEPTH_M, air_flows
from minesim.physics.room_plan import RoomPlan
from minesim.placement.judge import Judge
from minesim.placement.search import Placed

COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7f7f7f", "#f0e442")
"""Of the models, in the order of their first group; told apart without red and green (Okabe and Ito)."""


def draw_orders(path: Path, plan: RoomPlan, judge: Judge, models: Sequence[str], before: Placed, after: Placed) -> None:
    """Draw the hall as it stands and after the swaps, its air in the hottest part of the hours.

    Args:
        path: png, svg or pdf.
        plan: the layout.
        judge: of its hall.
        models: of the groups as they stand.
        before, after: the orders.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataFileError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise MissingExtraError(
            explain("matplotlib is not installed", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    colour = {model: COLOURS[n % len(COLOURS)] for n, model in enumerate(dict.fromkeys(models))}
    outcomes = [judge.outcome(one.order, one.settings) for one in (before, after)]
    airs = [outcome.air_c[..., -1] for outcome in outcomes]
    bounds = {"vmin": float(min(air.min() for air in airs)), "vmax": float(max(air.max() for air in airs))}
    height = 1.6 + 10.5 * plan.width_m / plan.length_m
    figure = Figure(figsize=(13.0, 2.0 * height + 0.8), layout="constrained")
    panels = figure.subplots(2, 1)
    for axes, label, one, outcome, air_c in zip(
        panels, ("as it stands", "after swaps"), (before, after), outcomes, airs, strict=True
    ):
        miners, plant = judge.hall.miners, outcome.plant
        inputs = np.concatenate(
            [
                miners.count * miners.flow_max_m3_per_s * outcome.duty[:, -1],
                plant.fan_flow_m3_per_s[:, -1],
                plant.damper_flow_m3_per_s[:, -1],
            ]
        )
        flows = air_flows(judge.hall.room.basis, inputs, xp=NUMPY)
        draw_field(axes, plan, judge.hall.room.grid, flows, air_c, keys=False, **bounds)
        _colour_groups(axes, plan, [colour[models[n]] for n in one.order], outcome.temp_inlet_c[:, -1])
        axes.set_title(
            f"{label}: {one.usd_per_year:,.0f} USD a year; outdoors {judge.hours.weather.temp_c[-1]:.0f} °C, "
            f"hottest chip {outcome.temp_hot_max_c[:, -1].max():.1f} °C; in the boxes: intakes, °C",
            fontsize=10,
            loc="left",
        )
    figure.colorbar(panels[0].images[0], ax=panels, label="air, °C", shrink=0.6)
    handles = [Patch(color=shade, label=model.removeprefix("Antminer ")) for model, shade in colour.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
    try:
        write_whole(path, lambda beside: figure.savefig(beside, dpi=110, bbox_inches="tight"))
    except OSError as error:
        raise DataFileError(explain(f"cannot write {path}: {error}", fix="Choose a folder that exists.")) from error


def _colour_groups(axes: Any, plan: RoomPlan, colours: Sequence[str], inlets_c: Any) -> None:
    """Boxes of the groups in the colours of their models, with what they take in."""
    from matplotlib.patches import Rectangle

    for group, shade, inlet_c in zip(plan.groups, colours, inlets_c, strict=True):
        y_m, width_m = plan.row(group.row).y_m, group.to_m - group.from_m
        corner = (group.from_m, y_m - 0.5 * ROW_DEPTH_M)
        axes.add_patch(Rectangle(corner, width_m, ROW_DEPTH_M, facecolor=shade, edgecolor="white", zorder=5))
        middle = group.from_m + 0.5 * width_m
        axes.text(middle, y_m, f"{inlet_c:.1f}", ha="center", va="center", fontsize=8, color="black", zorder=6)
