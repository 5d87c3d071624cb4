"""How exact and how fast rooms are on this machine: `.venv/bin/python -m tests.benchmarks.room`.

Coarse grids against the fine reference, the reference against a finer one, heat closure, recirculation, one day of the
fine grid, and control steps a second of single rooms and batches. One thread; no file is written.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from minesim.arrays import NUMPY, torch_namespace
from minesim.catalog.layouts import layout, layout_names
from minesim.physics.airflow import air_flows, recirculated_share
from minesim.physics.room_fine import advance_fine, fine_room
from minesim.physics.room_grid import RoomModel, advance, heat_balance, room_model, set_air
from tests.physics.rooms import RHO_CP, cell_means, operating_points

CONTROL_STEPS, SUB_STEPS, SUB_S = 288, 5, 60.0
POINTS = 20
REPEATS = 8


def coarse_against_fine(name: str, eddy: float, grids: Iterable[tuple[int, int]]) -> list[tuple[str, ...]]:
    """RMS and worst difference of cell means to 96 x 48 in the steady state, K."""
    plan = replace(layout(name), eddy_m2_per_s=eddy)
    fine = room_model(plan, 96, 48)
    points = list(operating_points(plan, POINTS, seed=1))
    still = np.zeros((96, 48))
    fields = [
        advance_fine(fine_room(fine, u, RHO_CP, math.inf), still, heat, 30.0, 30.0).air_c for _, u, heat in points
    ]
    rows = []
    for nx, ny in grids:
        model = room_model(plan, nx, ny)
        squares = []
        for (_, u, heat), field in zip(points, fields, strict=True):
            _, equations, factor = set_air(model, u, RHO_CP, math.inf, xp=NUMPY)
            air = advance(model, equations, factor, np.zeros((nx, ny)), heat, 30.0, 30.0).air_c
            squares.append(((air - cell_means(field, nx, ny)) ** 2).mean())
        enough = np.array([ratio >= 1.0 for ratio, _, _ in points])
        rms = [math.sqrt(np.mean(s)) for s in (squares, np.array(squares)[enough])]
        rows.append(
            (name, f"{eddy:g}", f"{nx} x {ny}", f"{rms[0]:.2f}", f"{math.sqrt(max(squares)):.2f}", f"{rms[1]:.2f}")
        )
    return rows


def fine_against_finer(name: str) -> tuple[str, ...]:
    """RMS and worst setting of 96 x 48 against 192 x 96, both of second order and plain upwind, K."""
    plan = layout(name)
    fine, finer = room_model(plan, 96, 48), room_model(plan, 192, 96)
    differences = []
    for _, u, heat in operating_points(plan, 5, seed=1):
        rooms = [fine_room(model, u, RHO_CP, math.inf) for model in (fine, finer)]
        best = advance_fine(rooms[1], np.zeros((192, 96)), heat, 30.0, 30.0).air_c
        reference = cell_means(best, 96, 48)
        ours = [advance_fine(rooms[0], np.zeros((96, 48)), heat, 30.0, 30.0, n).air_c for n in (40, 0)]
        differences.append([_rms(air - reference) for air in ours])
    second, upwind = np.array(differences).T
    return (name, f"{_rms(second):.2f}", f"{second.max():.2f}", f"{_rms(upwind):.2f}", f"{upwind.max():.2f}")


def closure(name: str) -> tuple[str, ...]:
    """Worst heat closure over a day of random settings, relative to the heat, in double and single precision."""
    plan = layout(name)
    worst = []
    for convert, xp in ((lambda a: a, NUMPY), (_single, torch_namespace())):
        model = room_model(plan, 8, 4).to(convert)
        structure, gap = convert(np.full((8, 4), 30.0)), 0.0
        for _, u, heat in operating_points(plan, CONTROL_STEPS, seed=2):
            _, equations, factor = set_air(model, convert(u), RHO_CP, SUB_S, xp=xp)
            for _ in range(SUB_STEPS):
                before = structure
                after = advance(model, equations, factor, before, convert(heat), 30.0, 30.0)
                parts = heat_balance(model, equations, before, after, convert(heat), 30.0, 30.0, SUB_S, xp=xp)
                left = parts.miners_w - parts.air_out_w - parts.stored_w - parts.envelope_w
                gap, structure = max(gap, abs(float(left / parts.miners_w))), after.structure_c
        worst.append(f"{gap:.1e}")
    return (name, *worst)


def recirculation(name: str, ratios: Iterable[float]) -> tuple[str, ...]:
    """Recirculated share at room fans over miners, on 16 x 8, all groups and fans alike, dampers shut."""
    plan = layout(name)
    model = room_model(plan, 16, 8)
    miners = np.array([g.miners * g.flow_m3_per_s for g in plan.groups])
    shares = []
    for ratio in ratios:
        fans = np.full(len(plan.fans), ratio * miners.sum() / len(plan.fans))
        flows = air_flows(model.basis, np.concatenate([miners, fans, np.zeros(len(plan.dampers))]), xp=NUMPY)
        shares.append(f"{float(recirculated_share(model.network, flows, xp=NUMPY)):.3f}")
    return (name, *shares)


def fine_day(name: str, corrections: int) -> tuple[float, Any]:
    """Processor seconds for a day of 96 x 48 with new settings at every control step, and the air of every sub-step."""
    plan = layout(name)
    model = room_model(plan, 96, 48)
    points = list(operating_points(plan, CONTROL_STEPS, seed=3))
    begin = time.process_time()
    structure, course = np.full((96, 48), 30.0), []
    for _, u, heat in points:
        room, air = fine_room(model, u, RHO_CP, SUB_S), None
        for _ in range(SUB_STEPS):
            air, structure = advance_fine(room, structure, heat, 30.0, 30.0, corrections, air)
            course.append(air)
    return time.process_time() - begin, np.array(course)


def sub_step(model: RoomModel, inputs: Any, heat: Any, slope: Any, structure: Any, xp: Any) -> Any:
    """New flows, factor and one sub-step, with heat that falls with the intake."""
    _, equations, factor = set_air(model, inputs, RHO_CP, SUB_S, slope, xp=xp)
    return advance(model, equations, factor, structure, heat, 30.0, 30.0).structure_c


def control_step(model: RoomModel, inputs: Any, heat: Any, structure: Any, xp: Any) -> None:
    """New flows, one factor, five sub-steps."""
    _, equations, factor = set_air(model, inputs, RHO_CP, SUB_S, xp=xp)
    for _ in range(SUB_STEPS):
        structure = advance(model, equations, factor, structure, heat, 30.0, 30.0).structure_c


def restless_step(one: Callable[..., Any], inputs: Any, heat: Any, slope: Any, structure: Any) -> None:
    """New flows and a factor in every one of five sub-steps."""
    for _ in range(SUB_STEPS):
        structure = one(inputs, heat, slope, structure)


def rates(nx: int, ny: int, batch: int, compiled: bool) -> list[tuple[str, ...]]:
    """Milliseconds of processor time a control step, and thousand site steps a second, of the container."""
    plan = layout("container_40ft")
    points = list(operating_points(plan, batch, seed=4))
    inputs, heat = (np.stack([p[k] for p in points], axis=1) for k in (1, 2))
    structure = np.full((nx, ny, batch), 30.0)
    if batch == 1:
        inputs, heat, structure = inputs[:, 0], heat[:, 0], structure[..., 0]
    libraries: dict[str, tuple[Callable[[Any], Any], Any]] = {
        "numpy double": (lambda a: a, NUMPY),
        "numpy single": (lambda a: np.asarray(a, dtype=np.float32), NUMPY),
    }
    if batch > 1:
        import torch

        libraries["torch double"] = (torch.as_tensor, torch_namespace())
        libraries["torch single"] = (_single, torch_namespace())
        if compiled:
            libraries["torch single, compiled"] = libraries["torch single"]
    rows = []
    for label, (convert, xp) in libraries.items():
        model = room_model(plan, nx, ny).to(convert)
        u, h, s, slope = (convert(a) for a in (inputs, heat, structure, 0.6 * RHO_CP * inputs[: len(plan.groups)]))
        one: Callable[..., Any] = functools.partial(_one, model, xp)
        held = "" if "compiled" in label else _rate(functools.partial(control_step, model, u, h, s, xp), batch)
        if "compiled" in label:
            import torch

            one = torch.compile(one, fullgraph=True, dynamic=False)
        rows.append(
            (
                f"{nx} x {ny}",
                str(batch),
                label,
                held,
                _rate(functools.partial(restless_step, one, u, h, slope, s), batch),
            )
        )
    return rows


def _one(model: RoomModel, xp: Any, inputs: Any, heat: Any, slope: Any, structure: Any) -> Any:
    return sub_step(model, inputs, heat, slope, structure, xp)


def _rate(step: Callable[[], None], batch: int) -> str:
    step()
    best = min(_seconds(step) for _ in range(REPEATS))
    return f"{best * 1e3:.2f} ms, {batch / best / 1e3:.1f} k/s"


def _seconds(step: Callable[[], None]) -> float:
    begin = time.process_time()
    step()
    return time.process_time() - begin


def _single(array: Any) -> Any:
    import torch

    return torch.as_tensor(array, dtype=torch.float32)


def _show(title: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    """Print all tables."""
    import torch

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--compile", action="store_true", help="also time a compiled sub-step (a minute to compile)")
    compiled = parser.parse_args().compile
    torch.set_num_threads(1)
    grids = ((8, 4), (16, 8), (24, 12))
    cases = [("container_40ft", 0.1), ("container_40ft", 0.2), ("hall", 0.1), ("hall", 0.25), ("hydro_row", 0.1)]
    _show(
        f"Against 96 x 48 of second order, steady, {POINTS} settings, room fans over miners 0.53 to 1.31, K",
        ("layout", "D, m2/s", "grid", "RMS", "worst setting", "RMS where fans >= miners"),
        itertools.chain.from_iterable(coarse_against_fine(*case, grids) for case in cases),
    )
    _show(
        "96 x 48 against 192 x 96 of second order, steady, 5 settings, K",
        ("layout", "second order: RMS", "worst", "upwind: RMS", "worst"),
        map(fine_against_finer, layout_names()),
    )
    _show("Heat closure over a day", ("layout", "double", "single"), map(closure, layout_names()))
    ratios = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
    _show(
        "Recirculated share at room fans over miners",
        ("layout", *map(str, ratios)),
        (recirculation(name, ratios) for name in layout_names()),
    )
    day_s, lagged = fine_day("container_40ft", 1)
    settled_s, settled = fine_day("container_40ft", 40)
    _show(
        "One day of 96 x 48, 288 settings x 5 sub-steps (processor seconds)",
        ("one correction a sub-step", "corrections until settled", "difference, K: RMS, worst cell of the day"),
        [(f"{day_s:.1f}", f"{settled_s:.1f}", f"{_rms(lagged - settled):.4f}, {abs(lagged - settled).max():.2f}")],
    )
    sizes = [(*grid, batch) for grid in grids[:2] for batch in (1, 256, 1024)]
    _show(
        "Speed, container, 5 sub-steps a control step: processor time, site steps a second",
        ("grid", "rooms", "arrays", "flows held", "flows new in every sub-step"),
        itertools.chain.from_iterable(rates(*size, compiled and size == (8, 4, 1024)) for size in sizes),
    )


def _rms(field: Any) -> float:
    return float(np.sqrt((field**2).mean()))


if __name__ == "__main__":
    main()
