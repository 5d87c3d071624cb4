"""Air fields: every balance closes, rooms behave as their openings say, points and faces agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.arrays import NUMPY, torch_namespace
from minesim.catalog.layouts import layout, layout_names
from minesim.errors import ParamsError
from minesim.physics.airflow import (
    air_balance_m3_per_s,
    air_basis,
    air_flows,
    cut_room,
    eddy_at_m2_per_s,
    recirculated_share,
    source_at,
    velocity_at_m_per_s,
)
from tests.physics.rooms import channel, operating_points

GRIDS = ((1, 1), (8, 4), (16, 8), (48, 24))


def solved(plan: Any, nx: int, ny: int, inputs: Any) -> tuple[Any, Any]:
    network = cut_room(plan, nx, ny)
    return network, air_flows(air_basis(network), inputs, xp=NUMPY)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", layout_names())
def test_air_that_enters_a_cell_leaves_it(name: str, grid: tuple[int, int]) -> None:
    plan = layout(name)
    for _, inputs, _ in operating_points(plan, 3, seed=4):
        _, flows = solved(plan, *grid, inputs)
        assert abs(air_balance_m3_per_s(flows, xp=NUMPY)).max() < 1e-11 * inputs.sum()
        assert flows.out.sum() == pytest.approx((flows.intake - flows.exhaust).sum(), rel=1e-10)


@given(ratio=st.floats(0.1, 1.0), nx=st.integers(2, 20), half=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_a_tight_shell_returns_what_the_fans_do_not_take(ratio: float, nx: int, half: int) -> None:
    plan = replace(layout("container_40ft"), leak_share=0.0)
    miners = np.array([g.miners * g.flow_m3_per_s for g in plan.groups])
    inputs = np.concatenate([miners, np.full(4, ratio * miners.sum() / 4), np.zeros(2)])
    network, flows = solved(plan, nx, 2 * half, inputs)
    assert recirculated_share(network, flows, xp=NUMPY) == pytest.approx(1.0 - ratio, abs=0.03)


@pytest.mark.parametrize("name", ["container_40ft", "hall"])
def test_more_room_air_means_less_recirculation_down_to_nothing(name: str) -> None:
    plan = layout(name)
    miners = np.array([g.miners * g.flow_m3_per_s for g in plan.groups])
    fans, ratios = len(plan.fans), np.array([0.2, 0.6, 0.8, 1.0, 1.2])
    inputs = np.stack(
        [np.concatenate([miners, np.full(fans, r * miners.sum() / fans), np.zeros(len(plan.dampers))]) for r in ratios],
        axis=1,
    )
    network, flows = solved(plan, 16, 8, inputs)
    shares = recirculated_share(network, flows, xp=NUMPY)
    assert (np.diff(shares) < 0.0).all()
    assert shares[0] > 0.6
    assert shares[-1] < 0.01


def test_dampers_return_their_flow_and_a_blocked_louvre_starves_the_room_of_nothing_else() -> None:
    plan = layout("container_40ft")
    miners = np.array([g.miners * g.flow_m3_per_s for g in plan.groups])
    inputs = np.concatenate([miners, np.full(4, 1.2 * miners.sum() / 4), [2.0, 3.0]])
    network, flows = solved(plan, 16, 8, inputs)
    assert flows.down.sum() == pytest.approx(5.0)
    assert recirculated_share(network, flows, xp=NUMPY) >= 5.0 / miners.sum() - 1e-12
    _, idle = solved(plan, 16, 8, np.concatenate([0.0 * miners, np.full(4, 5.0), [2.0, 3.0]]))
    assert recirculated_share(network, idle, xp=NUMPY) == 0.0
    half = replace(plan.openings[0], to_m=6.0)
    blocked = replace(plan, openings=(half,), leak_share=0.0)
    _, narrowed = solved(blocked, 16, 8, inputs)
    assert narrowed.out[:8].sum() == pytest.approx(-1.2 * miners.sum(), rel=1e-9)
    assert abs(narrowed.out[8:]).max() < 1e-9


def test_a_plug_flow_has_one_velocity() -> None:
    plan = channel()
    network, flows = solved(plan, 40, 1, np.array([0.0, 3.0]))
    x = np.linspace(0.3, 9.7, 50)
    along, across = velocity_at_m_per_s(network.grid, flows, x, np.full(50, 0.4), xp=NUMPY)
    np.testing.assert_allclose(along, 3.0 / (1.0 * 2.0), rtol=1e-10)
    np.testing.assert_allclose(across, 0.0, atol=1e-12)


def test_points_and_faces_are_one_definition_in_both_libraries() -> None:
    torch = pytest.importorskip("torch")
    plan = layout("hall")
    _, inputs, _ = next(operating_points(plan, 1, seed=0))
    network, flows = solved(plan, 12, 8, inputs)
    grid = network.grid
    faces_x = np.arange(1, grid.nx)[:, None] * grid.dx_m * np.ones((1, grid.ny))
    y = np.broadcast_to(grid.centres_m[1], faces_x.shape)
    along, _ = velocity_at_m_per_s(grid, flows, faces_x, y, xp=NUMPY)
    np.testing.assert_allclose(along * grid.dy_m * grid.height_m, flows.x, atol=1e-9)
    faces_y = np.arange(1, grid.ny)[None, :] * grid.dy_m * np.ones((grid.nx, 1))
    x = np.broadcast_to(grid.centres_m[0][:, None], faces_y.shape)
    _, across = velocity_at_m_per_s(grid, flows, x, faces_y, xp=NUMPY)
    np.testing.assert_allclose(across * grid.dx_m * grid.height_m, flows.y + flows.up - flows.down, atol=1e-9)
    # The divergence of the point field is the air that openings and fans bring into the cell.
    brought = flows.intake - flows.exhaust - flows.out
    px, py, step = np.array([0.51, 11.3, 23.7]), np.array([0.2, 6.4, 11.9]), 1e-4
    ahead, behind = (velocity_at_m_per_s(grid, flows, px + s, py, xp=NUMPY)[0] for s in (step, -step))
    left, right = (velocity_at_m_per_s(grid, flows, px, py + s, xp=NUMPY)[1] for s in (step, -step))
    divergence = (ahead - behind + left - right) / (2.0 * step)
    np.testing.assert_allclose(divergence, source_at(grid, brought, px, py, xp=NUMPY), atol=1e-6)
    xp = torch_namespace()
    points = torch.as_tensor(px), torch.as_tensor(py)
    tensors = type(flows)(*(torch.as_tensor(f) for f in flows))
    again = velocity_at_m_per_s(grid, tensors, *points, xp=xp)
    np.testing.assert_allclose(again[0].numpy(), velocity_at_m_per_s(grid, flows, px, py, xp=NUMPY)[0])
    assert eddy_at_m2_per_s(network, 0.2, *points, xp=xp)[1].item() == pytest.approx(0.2)
    in_row = eddy_at_m2_per_s(network, 0.2, torch.tensor([9.0]), torch.tensor([3.1]), xp=xp)
    assert in_row.item() < 0.05


def test_sources_spread_over_cells_add_up() -> None:
    plan = layout("container_40ft")
    network = cut_room(plan, 8, 4)
    heat = network.heat_to @ np.array([g.miners * g.power_w for g in plan.groups])
    x, y = (c.ravel() for c in np.meshgrid(*network.grid.centres_m, indexing="ij"))
    density = source_at(network.grid, heat, x, y, xp=NUMPY)
    assert density.sum() * network.grid.cell_m3 == pytest.approx(200 * 3300.0)


def test_a_closed_room_and_a_grid_too_coarse_are_refused() -> None:
    network = cut_room(channel(), 4, 1)
    with pytest.raises(ParamsError, match="no opening connects"):
        air_basis(replace(network, conductances=network.conductances._replace(out=np.zeros((4, 1)))))
    with pytest.raises(ParamsError, match=r"row 'north_row' falls on the wall"):
        cut_room(layout("hall"), 8, 2)
    with pytest.raises(ParamsError, match="the grid is 0 x 4"):
        cut_room(channel(), 0, 4)
