"""Placement: the fleet stays what it is, a swap helps or is not made, and a bad order is put right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from minesim.catalog.layouts import layout
from minesim.cli import app
from minesim.errors import ParamsError
from minesim.hall import build_hall
from minesim.placement.judge import Judge, Settings, judge_of, miners_in, typical_hours
from minesim.placement.search import improve, placed, random_orders, swaps
from minesim.scenario.climates import climate

PLAN = layout("container_40ft")
MODELS = ("Antminer S19j Pro (104T)",) * 8 + ("Antminer S19 XP",) * 8


@pytest.fixture(scope="module")
def judge() -> Judge:
    return judge_of(PLAN, build_hall("container_40ft", MODELS), climate("dallas"), broken_fans=("fan_1",))


def held(judge: Judge, speed: float) -> Settings:
    parts = len(judge.hours.share)
    return Settings(np.full(parts, speed), np.zeros(parts))


def test_parts_of_the_hours_hold_the_training_split_and_nothing_else() -> None:
    place = climate("dallas")
    hours = typical_hours(place)
    rows = np.concatenate([np.arange(begin, end) for begin, end in place.splits["train"]])
    assert hours.share.sum() == pytest.approx(1.0)
    assert (np.diff(hours.weather.temp_c) > 0.0).all()
    assert hours.weather.temp_c @ hours.share == pytest.approx(place.temp_amb_c[rows].mean())
    assert hours.price_usd_per_mwh @ hours.share == pytest.approx(place.price_usd_per_mwh[rows].mean())


def test_orders_keep_the_fleet_and_one_that_does_not_is_refused(judge: Judge) -> None:
    count = judge.hall.miners.count
    stands = np.arange(16)
    for order in (*swaps(stands, MODELS, count), *random_orders(count, 8, np.random.default_rng(0))):
        assert sorted(order) == list(stands)
        assert np.array_equal(count[order], count)
    moved = miners_in(judge.hall.miners, stands[None])
    assert np.array_equal(moved.dyn_w[:, 0], judge.hall.miners.dyn_w)
    with pytest.raises(ParamsError, match="groups of equal size"):
        miners_in(judge.hall.miners, np.roll(stands, 1)[None])


def test_an_order_judged_among_others_is_judged_as_alone(judge: Judge) -> None:
    orders = random_orders(judge.hall.miners.count, 3, np.random.default_rng(1))
    settings = held(judge, 0.6)
    together, alone = judge.judge(orders, settings), judge.judge(orders[1:2], settings)
    assert together.usd_per_year[1] == pytest.approx(alone.usd_per_year[0], rel=1e-9)
    np.testing.assert_allclose(together.temp_inlet_c[1], alone.temp_inlet_c[0], rtol=1e-9)


def test_swaps_end_no_worse_and_better_than_random_orders_where_a_fan_is_broken(judge: Judge) -> None:
    start = placed(judge, np.arange(16), held(judge, 0.9))
    taken: list[float] = []
    after = improve(judge, start, MODELS, hold=True, on_swap=lambda one: taken.append(one.usd_per_year))
    drawn = judge.judge(random_orders(judge.hall.miners.count, 12, np.random.default_rng(2)), start.settings)
    assert taken
    assert after.broken <= start.broken
    assert (after.broken, after.usd_per_year) <= (drawn.broken.min() + 1e-9, drawn.usd_per_year[drawn.best()] + 1.0)


def test_cheapest_settings_are_cheaper_than_full_fans(judge: Judge) -> None:
    chosen = placed(judge, np.arange(16))
    full = placed(judge, np.arange(16), held(judge, 1.0))
    assert chosen.usd_per_year < full.usd_per_year
    assert chosen.broken <= full.broken


def test_the_command_prints_and_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "orders.png"
    done = CliRunner().invoke(
        app, ["place", "--site", "one_s19j_pro", "--speed", "0.9", "--drawn", "2", "--plot", str(plot)]
    )
    assert done.exit_code == 0, done.output
    assert "as it stands" in done.output
    assert "leave the miners where they are" in done.output
    assert plot.stat().st_size > 10_000
    bad = CliRunner().invoke(app, ["place", "--broken-fan", "fan_9"])
    assert bad.exit_code == 1
    assert "fan_9" in bad.output
