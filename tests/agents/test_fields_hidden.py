"""Hidden rooms: reproducible, different from their plans in the stated way, and silent about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.fields.hidden import CASES, RoomKey, draw_parameters, hidden_plan, hidden_room, sensor_places_m
from agents.fields.protocol import GRID, GridEstimate
from minesim.catalog.layouts import layout
from minesim.errors import ParamsError
from minesim.physics.room_plan import check_plan


def test_a_hidden_room_is_its_key() -> None:
    one, again, other = (hidden_room(RoomKey("hydro_row", "hard", seed), train=4, forecast=2) for seed in (1, 1, 2))
    assert np.array_equal(one.truth_c, again.truth_c)
    assert np.array_equal(one.record.telemetry.readings_c, again.record.telemetry.readings_c, equal_nan=True)
    assert not np.allclose(one.truth_c, other.truth_c)
    assert one.truth_c.shape == (6, *GRID)
    assert np.isfinite(one.record.telemetry.readings_c[:4]).all()
    assert np.isnan(one.record.telemetry.readings_c[4:]).all()


@pytest.mark.parametrize("name", ["container_40ft", "hall", "hydro_row"])
def test_a_hidden_plan_is_possible_and_loses_the_area_that_is_blocked(name: str) -> None:
    plan, case = layout(name), CASES["hard"]
    for seed in range(5):
        parameters = draw_parameters(plan, case, 16, np.random.default_rng(seed))
        changed = check_plan(hidden_plan(plan, parameters))
        before, after = (sum((o.to_m - o.from_m) * o.free_share for o in p.openings) for p in (plan, changed))
        assert parameters.blocked is not None
        opening = next(o for o in plan.openings if o.name == parameters.blocked[0])
        lost = 0.75 * 0.5 * (opening.to_m - opening.from_m) * opening.free_share
        assert after == pytest.approx(before - lost)


def test_sensors_share_the_aisles() -> None:
    places = sensor_places_m(layout("hall"), 16)
    across = [y for _, y in places.values()]
    assert [across.count(y) for y in sorted(set(across))] == [5, 6, 5]
    assert len(set(places.values())) == 16


def test_a_grid_estimate_covers_the_cells_of_its_own() -> None:
    air = np.arange(2 * 24 * 12, dtype=float).reshape(2, 24, 12)
    estimate = GridEstimate(air, np.ones_like(air))
    cells = np.array([0, 3 * 48 + 3, 4 * 48, 95 * 48 + 47])
    assert estimate.mean_c(np.array([1]), cells).tolist() == [[288.0, 288.0, 300.0, 575.0]]
    with pytest.raises(ParamsError, match="divide 96 and 48"):
        GridEstimate(air[:, :7], air[:, :7])
    with pytest.raises(ParamsError, match="spread"):
        replace(estimate, spread_k=air[:1])
