"""The room on a grid: known answers, conservation, order of accuracy, batch and single, coarse against fine."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minesim.arrays import NUMPY, torch_namespace
from minesim.catalog.layouts import layout, layout_names
from minesim.errors import ParamsError
from minesim.physics.airflow import AirFlows, AirShares, air_balance_m3_per_s
from minesim.physics.room_fine import FineRoom, advance_fine, fine_room, sparse_factor
from minesim.physics.room_grid import (
    RoomModel,
    RoomTemps,
    advance,
    heat_balance,
    inlet_temps_c,
    room_equations,
    room_model,
    sensor_cells,
    set_air,
    with_air,
)
from minesim.physics.room_plan import MinerGroup, Opening, RoomFan, RoomPlan, Row, check_plan
from tests.physics.rooms import RHO_CP, cell_means, channel, operating_points


def steady(model: RoomModel, inputs: Any, heat_w: Any, supply_c: float = 30.0, amb_c: float = 30.0) -> Any:
    _, equations, factor = set_air(model, inputs, RHO_CP, math.inf, xp=NUMPY)
    shape = (model.grid.nx, model.grid.ny, *np.shape(heat_w)[1:])
    return advance(model, equations, factor, np.zeros(shape), heat_w, supply_c, amb_c).air_c


def inlets(model: RoomModel, inputs: Any, heat_w: Any) -> Any:
    """Intakes in the steady state at 30 C outdoors."""
    equations = set_air(model, inputs, RHO_CP, math.inf, xp=NUMPY)[1]
    return inlet_temps_c(model, equations, steady(model, inputs, heat_w))


# --- known answers


def two_aisles(**changes: Any) -> RoomPlan:
    """One cell a side of a row: 10 m3/s and 100 kW of miners in a tight, adiabatic shell."""
    values: dict[str, Any] = {
        "name": "two aisles",
        "title": "",
        "source": "",
        "length_m": 4.0,
        "width_m": 4.0,
        "height_m": 2.5,
        "eddy_m2_per_s": 0.1,
        "leak_share": 0.0,
        "structure_j_per_k": 1e6,
        "structure_w_per_k": 1e-9,
        "envelope_w_per_k": 0.0,
        "rows": (Row("row", 2.0, 0.0, 4.0, "north", 0.001),),
        "groups": (MinerGroup("g", "row", 0.0, 4.0, 50, 2000.0, 0.2),),
        "fans": (RoomFan("fan", "exhaust", "north", 0.0, 4.0, 10.0, 1000.0),),
        "openings": (Opening("louvre", "south", 0.0, 4.0, 0.5),),
    }
    return check_plan(RoomPlan(**{**values, **changes}))


def without_mixing(plan: RoomPlan) -> RoomModel:
    """Two cells that exchange air by flow alone."""
    model = room_model(plan, 1, 2)
    return replace(model, mix_y=0.0 * model.mix_y)


@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.9])
def test_recirculation_through_gaps_heats_the_intake_as_a_balance_by_hand_says(ratio: float) -> None:
    model = without_mixing(two_aisles(rows=(Row("row", 2.0, 0.0, 4.0, "north", 0.05),)))
    inputs = np.array([10.0, 10.0 * ratio])
    air = steady(model, inputs, np.array([1e5]), 25.0)
    rise_k = 1e5 / (RHO_CP * 10.0 * ratio)
    assert air[0, 1] == pytest.approx(25.0 + rise_k, rel=1e-9)
    # Qm T_intake = Qf T_in + (Qm - Qf) T_hot: netting miners and gaps would give no rise at all.
    excess_k = (1.0 - ratio) * rise_k
    equations = set_air(model, inputs, RHO_CP, math.inf, xp=NUMPY)[1]
    assert inlet_temps_c(model, equations, air)[0] == pytest.approx(25.0 + excess_k, rel=1e-9)
    # Of the cold aisle, 2 m deep, only a layer is warm: exp(-u y / D), u = Qf / (4 m x 2.5 m), D = 0.1 m2/s.
    peclet = ratio * 2.0 / 0.1
    assert air[0, 0] - 25.0 == pytest.approx(excess_k * (1.0 - math.exp(-peclet)) / peclet, rel=0.07)


def test_a_miner_whose_heat_falls_with_its_intake_settles_where_a_balance_by_hand_says() -> None:
    model = without_mixing(two_aisles())
    slope, heat = np.array([4000.0]), np.array([400e3])
    _, equations, factor = set_air(model, np.array([10.0, 10.0]), RHO_CP, math.inf, slope, xp=NUMPY)
    air = advance(model, equations, factor, np.zeros((1, 2)), heat, 20.0, 20.0).air_c
    assert air[0, 1] == pytest.approx(20.0 + (400e3 - 4000.0 * 20.0) / (RHO_CP * 10.0))
    mixed = room_model(two_aisles(), 1, 1)
    _, equations, factor = set_air(mixed, np.array([10.0, 10.0]), RHO_CP, math.inf, slope, xp=NUMPY)
    air = advance(mixed, equations, factor, np.zeros((1, 1)), heat, 20.0, 20.0).air_c
    assert air[0, 0] == pytest.approx((RHO_CP * 10.0 * 20.0 + 400e3) / (RHO_CP * 10.0 + 4000.0))


def test_an_intake_fan_brings_supply_air_and_a_leak_brings_outdoor_air() -> None:
    # 6 m3/s pushed in through the coil at 15 C, 10 m3/s drawn out: the untreated louvre makes up 4 m3/s at 35 C.
    fans = (
        RoomFan("in", "intake", "south", 0.0, 2.0, 6.0, 500.0),
        RoomFan("out", "exhaust", "north", 0.0, 4.0, 10.0, 1000.0),
    )
    louvre = (Opening("louvre", "south", 2.0, 4.0, 0.5, treated=False),)
    model = without_mixing(two_aisles(fans=fans, openings=louvre))
    air = steady(model, np.array([10.0, 6.0, 10.0]), np.array([1e5]), 15.0, 35.0)
    assert air[0, 0] == pytest.approx(0.6 * 15.0 + 0.4 * 35.0, rel=1e-9)
    assert air[0, 1] == pytest.approx(air[0, 0] + 1e5 / (RHO_CP * 10.0), rel=1e-9)
    # Pushed harder than drawn, air leaves through the louvre and outdoor air stays outside.
    pushed = steady(model, np.array([10.0, 12.0, 10.0]), np.array([1e5]), 15.0, 35.0)
    assert pushed[0, 0] == pytest.approx(15.0, rel=1e-9)


def lumped(dt_s: float, minutes: float) -> float:
    """Air of a well-mixed room, degC, some time after the miners start."""
    plan = replace(channel(), structure_j_per_k=2e6, structure_w_per_k=1000.0, envelope_w_per_k=150.0)
    model = room_model(plan, 1, 1)
    _, equations, factor = set_air(model, np.array([0.0, 2.0]), RHO_CP, dt_s, xp=NUMPY)
    temps = RoomTemps(np.zeros((1, 1)), np.full((1, 1), 10.0))
    for _ in range(round(60.0 * minutes / dt_s)):
        temps = advance(model, equations, factor, temps.structure_c, np.array([30e3]), 10.0, 5.0)
    return float(temps.air_c[0, 0])


def lumped_exact(minutes: float) -> float:
    stream, inner, outer, capacity = RHO_CP * 2.0, 1000.0, 150.0, 2e6
    # Air: stream (T - 10) + inner (T - S) = heat; structure: capacity S' = inner (T - S) - outer (S - 5).
    source = (stream * 10.0 + 30e3) / (stream + inner)
    share = inner / (stream + inner)
    rate = (inner * (1.0 - share) + outer) / capacity
    end = (inner * source + outer * 5.0) / (inner * (1.0 - share) + outer)
    structure = end + (10.0 - end) * math.exp(-rate * 60.0 * minutes)
    return source + share * structure


@pytest.mark.parametrize("minutes", [5, 30, 120])
def test_a_well_mixed_room_follows_its_exponential(minutes: float) -> None:
    assert lumped(60.0, minutes) - 10.0 == pytest.approx(lumped_exact(minutes) - 10.0, rel=0.01)


def test_time_steps_are_of_first_order() -> None:
    errors = [abs(lumped(dt_s, 40.0) - lumped_exact(40.0)) for dt_s in (240.0, 120.0, 60.0, 30.0)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(1.0, abs=0.1)


def one_dimension_exact(x: Any, velocity: float, eddy: float, heat_w: float) -> Any:
    """Rise over the inlet: u T' = D T'' + q between 2 and 6 m, u T - D T' = 0 at the inlet, T' = 0 at the outlet."""
    rate = heat_w / (4.0 * 2.0 * RHO_CP)
    k, tail = velocity / eddy, rate * eddy / velocity**2
    inside = rate / velocity * (x - 2.0) + tail - tail * np.exp(k * (x - 6.0))
    before = tail * (1.0 - math.exp(-k * 4.0)) * np.exp(k * (x - 2.0))
    return np.where(x < 2.0, before, np.where(x < 6.0, inside, 4.0 * rate / velocity))


@pytest.mark.parametrize("flow", [0.2, 1.0, 4.0])
def test_one_dimensional_advection_and_diffusion_match_the_analytic_solution(flow: float) -> None:
    model = room_model(channel(), 400, 1)
    room = fine_room(model, np.array([0.0, flow]), RHO_CP, math.inf)
    air = advance_fine(room, np.zeros((400, 1)), np.array([20e3]), 15.0, 15.0).air_c[:, 0]
    exact = one_dimension_exact(model.grid.centres_m[0], flow / 2.0, 0.5, 20e3)
    assert abs(air - 15.0 - exact).max() < 0.01 * exact.max()
    upwind = steady(model, np.array([0.0, flow]), np.array([20e3]), 15.0, 15.0)[:, 0]
    assert abs(upwind - 15.0 - exact).max() < 0.01 * exact.max()


# --- order in space, by a manufactured solution


def vortex(cells: int, velocity: float, corrected: bool) -> float:
    """RMS error in a square of 1 m with a swirl, where the heat of every cell makes T = cos(pi x) cos(pi y)."""
    plan = channel(1.0, groups=(), rows=(), structure_w_per_k=200.0, envelope_w_per_k=1e9, structure_j_per_k=1.0)
    model = room_model(plan, cells, cells)
    grid, n = model.grid, cells * cells
    edges = np.arange(cells + 1) / cells
    stream = velocity / math.pi * np.sin(math.pi * edges[:, None]) * np.sin(math.pi * edges[None, :]) * grid.height_m
    still_x, still_y = np.zeros((cells, cells)), np.zeros((cells, cells - 1))
    flows = AirFlows(
        x=stream[1:-1, 1:] - stream[1:-1, :-1],
        y=stream[:-1, 1:-1] - stream[1:, 1:-1],
        out=still_x,
        up=still_y,
        down=still_y,
        exhaust=still_x,
        intake=still_x,
    )
    x, y = np.meshgrid(*grid.centres_m, indexing="ij")
    exact = np.cos(math.pi * x) * np.cos(math.pi * y)
    along = velocity * np.sin(math.pi * x) * np.cos(math.pi * y)
    across = -velocity * np.cos(math.pi * x) * np.sin(math.pi * y)
    slopes = along * np.sin(math.pi * x) * np.cos(math.pi * y) + across * np.cos(math.pi * x) * np.sin(math.pi * y)
    per_m3 = RHO_CP * (-math.pi * slopes + 0.5 * 2.0 * math.pi**2 * exact)
    equations = room_equations(model, flows, RHO_CP, math.inf, xp=NUMPY)
    held = (
        equations.diagonal
        - room_equations(replace(model, structure_w_per_k=0.0), flows, RHO_CP, math.inf, xp=NUMPY).diagonal
    )
    from scipy.sparse import eye_array

    model = replace(model, heat_to=eye_array(n))
    room = FineRoom(model, flows, equations, sparse_factor(model, equations), RHO_CP * flows.x, RHO_CP * flows.y)
    heat = (per_m3 * grid.cell_m3 + held * exact).ravel()
    air = advance_fine(room, still_x, heat, 0.0, 0.0, corrections=200 if corrected else 0).air_c
    return float(np.sqrt(((air - exact) ** 2).mean()))


@pytest.mark.parametrize(("velocity", "corrected", "order"), [(0.0, False, 2.0), (40.0, False, 1.0), (40.0, True, 1.8)])
def test_manufactured_solution_shows_the_design_order_in_space(velocity: float, corrected: bool, order: float) -> None:
    errors = [vortex(cells, velocity, corrected) for cells in (16, 32, 64)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) > order - 0.25
    assert vortex(32, 40.0, True) < 0.3 * vortex(32, 40.0, False)


# --- properties


settings_of_rooms = st.tuples(
    st.sampled_from(layout_names()),
    st.sampled_from([(1, 1), (8, 4), (12, 8)]),
    st.integers(0, 10_000),
    st.sampled_from([30.0, 300.0, math.inf]),
)


@given(case=settings_of_rooms, supply_c=st.floats(-20.0, 45.0), amb_c=st.floats(-20.0, 45.0), sloped=st.booleans())
@settings(max_examples=60, deadline=None)
def test_heat_in_is_heat_out_and_nothing_is_colder_than_its_coldest_source(
    case: Any, supply_c: float, amb_c: float, sloped: bool
) -> None:
    name, grid, seed, dt_s = case
    plan = layout(name)
    model = room_model(plan, *grid)
    points = list(operating_points(plan, 3, seed))
    inputs, heat = (np.stack([p[k] for p in points], axis=1) for k in (1, 2))
    rng = np.random.default_rng(seed)
    before = rng.uniform(-10.0, 50.0, (*grid, 3))
    shares = np.array([g.air_share for g in plan.groups])[:, None]
    slope = 0.6 * RHO_CP * inputs[: len(plan.groups)] * shares if sloped else None
    given_w = heat if slope is None else heat + slope / shares * 80.0
    _, equations, factor = set_air(model, inputs, RHO_CP, dt_s, slope, xp=NUMPY)
    after = advance(model, equations, factor, before, given_w, supply_c, amb_c)
    parts = heat_balance(model, equations, before, after, given_w, supply_c, amb_c, dt_s, xp=NUMPY)
    closure = parts.miners_w - parts.air_out_w - parts.stored_w - parts.envelope_w
    assert abs(closure).max() < 1e-10 * (heat.sum() + abs(parts.air_out_w).max() + abs(parts.stored_w).max())
    coldest = min(supply_c, amb_c, before.min() if math.isfinite(dt_s) else amb_c)
    if not sloped or after.air_c.max() < 80.0:
        assert after.air_c.min() > coldest - 1e-6


@st.composite
def rooms(draw: Any) -> RoomPlan:
    """Any room that the checks let through: up to three rows, fans on walls and roof, louvres anywhere."""
    length_m, width_m = draw(st.floats(3.0, 40.0)), draw(st.floats(2.0, 20.0))
    count = draw(st.integers(1, 3))
    rows, groups = [], []
    for n in range(count):
        begin, end = sorted(draw(st.tuples(st.floats(0.0, 0.4), st.floats(0.6, 1.0))))
        y_m = width_m * (n + draw(st.floats(0.7, 1.3))) / (count + 1)
        blows = draw(st.sampled_from(["north", "south"]))
        rows.append(Row(f"row{n}", y_m, begin * length_m, end * length_m, blows, draw(st.floats(0.001, 0.5))))
        cuts = [begin, *sorted(draw(st.lists(st.floats(begin, end), max_size=3, unique=True))), end]
        for k, (left, right) in enumerate(itertools.pairwise(cuts)):
            if right - left > 1e-3:
                flow = draw(st.floats(0.01, 0.3))
                groups.append(
                    MinerGroup(
                        f"g{n}{k}", f"row{n}", left * length_m, right * length_m, draw(st.integers(1, 99)), 3e3, flow
                    )
                )
    # Nearly every room passes: a louvre in the south and a fan over all aisles, and up to three devices elsewhere.
    mounted: dict[str, list[Any]] = {
        "fans": [RoomFan("roof", "exhaust", "roof", 0.0, length_m, draw(st.floats(0.1, 50.0)), 500.0, 0.0, width_m)],
        "openings": [Opening("louvre", "south", 0.0, length_m, draw(st.floats(0.01, 1.0)))],
    }
    for n, wall in enumerate(draw(st.lists(st.sampled_from(["north", "west", "east"]), unique=True))):
        end_m = width_m if wall in ("west", "east") else length_m
        a, b = sorted(draw(st.tuples(st.floats(0.0, 0.45), st.floats(0.55, 1.0))))
        if draw(st.booleans()):
            kind = draw(st.sampled_from(["exhaust", "exhaust", "intake"]))
            fan = RoomFan(f"d{n}", kind, wall, a * end_m, b * end_m, draw(st.floats(0.1, 50.0)), 500.0)
            mounted["fans"].append(fan)
        else:
            share, treated = draw(st.floats(0.01, 1.0)), draw(st.booleans())
            mounted["openings"].append(Opening(f"d{n}", wall, a * end_m, b * end_m, share, treated))
    return two_aisles(
        length_m=length_m,
        width_m=width_m,
        structure_w_per_k=1000.0,
        envelope_w_per_k=100.0,
        leak_share=draw(st.sampled_from([0.0, 0.01])),
        rows=tuple(rows),
        groups=tuple(groups),
        fans=tuple(mounted["fans"]),
        openings=tuple(mounted["openings"]),
    )


@given(data=st.data(), nx=st.integers(1, 9), ny=st.integers(1, 9), on=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_room_that_passes_the_checks_balances(data: Any, nx: int, ny: int, on: bool) -> None:
    try:
        plan = data.draw(rooms())
        model = room_model(plan, nx, ny)
    except ParamsError:
        return
    speeds = np.array(data.draw(st.lists(st.floats(0.0, 1.0), min_size=len(plan.fans), max_size=len(plan.fans))))
    miners = float(on) * np.array([g.miners * g.flow_m3_per_s for g in plan.groups])
    inputs = np.concatenate([miners, speeds * np.array([f.flow_m3_per_s for f in plan.fans])])
    heat = np.array([g.miners * g.power_w for g in plan.groups])
    flows, equations, factor = set_air(model, inputs, RHO_CP, 60.0, xp=NUMPY)
    assert abs(air_balance_m3_per_s(flows, xp=NUMPY)).max() < 1e-9 * (1.0 + inputs.sum())
    before = np.full((nx, ny), 25.0)
    after = advance(model, equations, factor, before, heat, 20.0, 30.0)
    parts = heat_balance(model, equations, before, after, heat, 20.0, 30.0, 60.0, xp=NUMPY)
    left = parts.miners_w - parts.air_out_w - parts.stored_w - parts.envelope_w
    assert abs(left) < 1e-9 * (parts.miners_w + abs(parts.air_out_w) + abs(equations.leave).sum() * 20.0)
    assert after.air_c.min() > 20.0 - 1e-6


def test_a_constant_temperature_is_kept() -> None:
    plan = layout("hall")
    model = room_model(plan, 16, 8)
    _, inputs, heat = next(operating_points(plan, 1, 3))
    _, equations, factor = set_air(model, inputs, RHO_CP, 60.0, xp=NUMPY)
    after = advance(model, equations, factor, np.full((16, 8), 21.5), 0.0 * heat, 21.5, 21.5)
    np.testing.assert_allclose(after.air_c, 21.5, rtol=1e-11)
    np.testing.assert_allclose(after.structure_c, 21.5, rtol=1e-11)


def test_many_short_steps_end_in_the_steady_state() -> None:
    plan = layout("container_40ft")
    model = room_model(plan, 8, 4)
    _, inputs, heat = next(operating_points(plan, 1, 5))
    _, equations, factor = set_air(model, inputs, RHO_CP, 600.0, xp=NUMPY)
    temps = RoomTemps(np.zeros((8, 4)), np.full((8, 4), 5.0))
    for _ in range(400):
        temps = advance(model, equations, factor, temps.structure_c, heat, 30.0, 28.0)
    np.testing.assert_allclose(temps.air_c, steady(model, inputs, heat, 30.0, 28.0), atol=1e-6)


def test_more_heat_or_less_room_air_never_cools_an_intake() -> None:
    plan = layout("container_40ft")
    model = room_model(plan, 8, 4)
    for _, inputs, heat in operating_points(plan, 5, 8):
        base = inlets(model, inputs, heat)
        assert (inlets(model, inputs, 1.1 * heat) >= base - 1e-9).all()
        slower = inputs.copy()
        slower[16:20] *= 0.7
        assert inlets(model, slower, heat).mean() >= base.mean()


# --- one text, many ways to run it


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("grid", [(1, 1), (5, 1), (8, 4), (16, 8)])
def test_batch_row_single_room_torch_and_sparse_agree(grid: tuple[int, int], once: bool) -> None:
    torch = pytest.importorskip("torch")
    plan = layout("container_40ft")
    model = room_model(plan, *grid)
    points = list(operating_points(plan, 4, 2))
    inputs, heat = (np.stack([p[k] for p in points], axis=1) for k in (1, 2))
    before = np.random.default_rng(0).uniform(10.0, 40.0, (*grid, 4))
    slope = 0.5 * RHO_CP * inputs[:16]

    def run(m: RoomModel, u: Any, h: Any, s: Any, b: Any, xp: Any) -> Any:
        _, equations, factor = set_air(m, u, RHO_CP, 60.0, s, once=once, xp=xp)
        return advance(m, equations, factor, b, h, 22.0, 30.0)

    batch = run(model, inputs, heat, slope, before, NUMPY)
    xp, tensors = torch_namespace(), model.to(torch.as_tensor)
    wide = run(tensors, *(torch.as_tensor(a) for a in (inputs, heat, slope, before)), xp)
    np.testing.assert_allclose(wide.air_c.numpy(), batch.air_c, rtol=1e-11)
    for row in range(4):
        one = (inputs[:, row], heat[:, row], slope[:, row], before[..., row])
        np.testing.assert_allclose(run(model, *one, NUMPY).air_c, batch.air_c[..., row], rtol=1e-11)
        lone = run(tensors, *(torch.as_tensor(a) for a in one), xp)
        np.testing.assert_allclose(lone.structure_c.numpy(), batch.structure_c[..., row], rtol=1e-11)
    room = fine_room(model, inputs[:, 1], RHO_CP, 60.0)
    upwind = advance_fine(room, before[..., 1], heat[:, 1], 22.0, 30.0, corrections=0)
    plain = run(model, inputs[:, 1], heat[:, 1], None, before[..., 1], NUMPY)
    np.testing.assert_allclose(upwind.air_c, plain.air_c, rtol=1e-11)


def test_single_precision_is_good_to_a_thousandth_kelvin() -> None:
    torch = pytest.importorskip("torch")
    plan = layout("container_40ft")
    model = room_model(plan, 8, 4)
    points = list(operating_points(plan, 64, 6))
    inputs, heat = (np.stack([p[k] for p in points], axis=1) for k in (1, 2))
    single = model.to(lambda a: torch.as_tensor(a, dtype=torch.float32))
    u, h = (torch.as_tensor(a, dtype=torch.float32) for a in (inputs, heat))
    _, equations, factor = set_air(single, u, RHO_CP, math.inf, xp=torch_namespace())
    air = advance(single, equations, factor, torch.zeros((8, 4, 64)), h, 30.0, 30.0).air_c
    np.testing.assert_allclose(air.numpy(), steady(model, inputs, heat), atol=1e-3)


@pytest.mark.parametrize("once", [False, True])
def test_gradients_reach_flows_and_heat(once: bool) -> None:
    torch = pytest.importorskip("torch")
    plan = layout("container_40ft")
    model = room_model(plan, 8, 4)
    tensors, xp = model.to(torch.as_tensor), torch_namespace()
    _, inputs, heat = next(operating_points(plan, 1, 9))
    u, h = torch.as_tensor(inputs).requires_grad_(), torch.as_tensor(heat).requires_grad_()
    _, equations, factor = set_air(tensors, u, RHO_CP, math.inf, once=once, xp=xp)
    advance(tensors, equations, factor, torch.zeros((8, 4)), h, 30.0, 30.0).air_c.max().backward()
    for tensor, values, index in ((u, inputs, 17), (h, heat, 3)):
        ends = []
        for sign in (1.0, -1.0):
            moved = values.copy()
            moved[index] *= 1.0 + sign * 1e-5
            both = (moved, heat) if tensor is u else (inputs, moved)
            ends.append(steady(model, *both).max())
        slope = (ends[0] - ends[1]) / (2e-5 * values[index])
        assert tensor.grad[index].item() == pytest.approx(slope, rel=1e-4)


def test_gaps_louvres_leaks_and_mixing_can_be_fitted_by_gradients() -> None:
    torch = pytest.importorskip("torch")
    plan = layout("hall")
    model, xp = room_model(plan, 8, 4), torch_namespace()
    _, inputs, heat = next(operating_points(plan, 1, 11))
    values = (np.array([0.08, 0.03]), np.array([0.4, 0.2]), np.array(0.01), np.array(0.3))

    def intake(gap: Any, free: Any, leak: Any, eddy: Any, m: RoomModel, u: Any, h: Any, xp: Any) -> Any:
        changed = with_air(m, AirShares(gap, free, leak), eddy, xp=xp)
        _, equations, factor = set_air(changed, u, RHO_CP, math.inf, xp=xp)
        still = xp.zeros_like(changed.treated_share)
        return inlet_temps_c(changed, equations, advance(changed, equations, factor, still, h, 30.0, 30.0).air_c).sum()

    leaves = [torch.as_tensor(v).requires_grad_() for v in values]
    tensors = model.to(torch.as_tensor), torch.as_tensor(inputs), torch.as_tensor(heat), xp
    total = intake(*leaves, *tensors)
    total.backward()
    reference = float(intake(*values, model, inputs, heat, NUMPY))
    assert total.item() == pytest.approx(reference, rel=1e-10)
    for number, leaf in enumerate(leaves):
        moved = [v.copy() for v in values]
        moved[number] = moved[number] * 1.00001
        ahead = float(intake(*moved, model, inputs, heat, NUMPY))
        slope = float((leaf.grad.numpy() * values[number]).sum())
        assert slope == pytest.approx((ahead - reference) / 1e-5, rel=1e-2, abs=1e-3)
    rows = tuple(replace(row, gap_share=gap) for row, gap in zip(plan.rows, values[0], strict=True))
    openings = tuple(replace(o, free_share=free) for o, free in zip(plan.openings, values[1], strict=True))
    edited = replace(plan, rows=rows, openings=openings, leak_share=0.01, eddy_m2_per_s=0.3)
    assert inlets(room_model(edited, 8, 4), inputs, heat).sum() == pytest.approx(reference, rel=1e-10)


def test_sensors_read_the_cell_in_which_they_hang_and_must_hang_in_the_room() -> None:
    grid = room_model(layout("container_40ft"), 8, 4).grid
    cells = sensor_cells(grid, {"corner": (12.03, 2.35), "cold": (0.1, 0.1), "hot": (6.2, 1.3)})
    assert cells.tolist() == [31, 0, 4 * 4 + 2]
    for place in ((13.0, 1.0), (1.0, -0.1), (math.nan, 1.0)):
        with pytest.raises(ParamsError, match="sensor 'lost' hangs at"):
            sensor_cells(grid, {"lost": place})


# --- coarse grids against the fine reference


@pytest.mark.parametrize(("name", "eddy"), [*((name, 0.1) for name in layout_names()), ("hall", 0.25)])
def test_coarse_grids_stay_close_to_the_fine_reference(name: str, eddy: float) -> None:
    plan = replace(layout(name), eddy_m2_per_s=eddy)
    fine = room_model(plan, 96, 48)
    coarse = {grid: room_model(plan, *grid) for grid in ((8, 4), (16, 8))}
    squares: dict[Any, list[float]] = {grid: [] for grid in coarse}
    intakes: dict[Any, list[float]] = {grid: [] for grid in coarse}
    ratios = []
    for ratio, inputs, heat in operating_points(plan, 20, seed=1):
        room = fine_room(fine, inputs, RHO_CP, math.inf)
        reference = advance_fine(room, np.zeros((96, 48)), heat, 30.0, 30.0).air_c
        assert reference.min() > 30.0 - 1e-6
        taken_in = inlet_temps_c(fine, room.equations, reference)
        ratios.append(ratio)
        for grid, model in coarse.items():
            error = steady(model, inputs, heat) - cell_means(reference, *grid)
            squares[grid].append(float((error**2).mean()))
            intakes[grid].append(float(((inlets(model, inputs, heat) - taken_in) ** 2).mean()))
    enough = np.array(ratios) >= 1.0
    assert math.sqrt(np.mean(squares[16, 8])) < 0.5
    assert math.sqrt(np.mean(squares[8, 4])) < 1.0
    assert math.sqrt(np.mean(np.array(squares[8, 4])[enough])) < 0.5
    assert math.sqrt(np.mean(intakes[16, 8])) < 0.75
    assert math.sqrt(np.mean(intakes[8, 4])) < 1.1


def test_the_limited_correction_moves_heat_and_makes_none() -> None:
    plan = layout("container_40ft")
    model = room_model(plan, 32, 16)
    _, inputs, heat = next(operating_points(plan, 1, 7))
    room = fine_room(model, inputs, RHO_CP, 60.0)
    before = np.full((32, 16), 20.0)
    after = advance_fine(room, before, heat, 25.0, 35.0)
    parts = heat_balance(model, room.equations, before, after, heat, 25.0, 35.0, 60.0, xp=NUMPY)
    assert parts.miners_w == pytest.approx(parts.air_out_w + parts.stored_w + parts.envelope_w, rel=1e-10)
    upwind = advance_fine(room, before, heat, 25.0, 35.0, corrections=0)
    assert abs(after.air_c - upwind.air_c).max() > 0.1


@pytest.mark.long
def test_a_day_of_the_fine_grid_takes_less_than_ten_seconds() -> None:
    from tests.benchmarks.room import fine_day

    seconds, course = fine_day("container_40ft", corrections=40)
    assert course.shape == (1440, 96, 48)
    assert course.min() > 30.0 - 1e-3
    assert seconds < 10.0
