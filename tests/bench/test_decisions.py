"""Decision quality where the right decision is known, and branches that equal the main run."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from minesim.bench.decisions import CHANGES_PER_RUN, DecisionRecorder, decision_quality
from minesim.bench.metrics import metrics
from minesim.bench.rollout import rollout
from minesim.envs.core import World
from minesim.errors import ParamsError
from tests.bench.two_prices import START, Always, PriceRule, two_price_world

DEAR = (6, 7, 8, 15, 16, 17, 18)
STARTS = np.array([START, START + np.timedelta64(6, "h")])


@pytest.fixture(scope="module")
def world() -> World:
    return two_price_world(DEAR)


def quality(policy: object, world: World, **options: int) -> tuple[float, xr.Dataset]:
    sums = decision_quality(policy, world, STARTS[:1], **options)  # type: ignore[arg-type]
    return float(metrics(sums)["decision_quality"][0]), sums


def test_the_right_rule_decides_right_and_its_inverse_wrong(world: World) -> None:
    right, sums = quality(PriceRule(), world)
    wrong, _ = quality(PriceRule(runs_when_dear=True), world)
    assert right > 0.99
    assert wrong < 0.05
    changed = sums["moment_step"].to_numpy()[sums["moment_changed"].to_numpy()]
    assert list(changed) == [12 * hour for hour in (6, 9, 15, 19)]


def test_always_on_is_wrong_where_it_is_dear(world: World) -> None:
    value, sums = quality(Always(1.0), world, held_per_day=24)
    gain, step = sums["moment_gain_usd"].to_numpy(), sums["moment_step"].to_numpy()
    hour = step / 12.0
    dear = np.isin(hour.astype(int), DEAR) & np.isin((hour + 1.0).astype(int), DEAR)
    cheap = ~np.isin(hour.astype(int), DEAR) & ~np.isin((hour + 1.0).astype(int), DEAR)
    assert (gain[dear] < 0.0).all()
    assert dear.sum() >= 3
    assert (gain[cheap] > 0.0).all()
    assert cheap.sum() >= 10
    assert value == pytest.approx(np.maximum(gain, 0.0).sum() / np.abs(gain).sum())


def test_a_branch_that_acts_alike_is_the_main_run_bit_for_bit(world: World) -> None:
    recorder = DecisionRecorder(world, 2, held_per_day=24)
    rollout(PriceRule(), world, STARTS, watch=recorder)
    moments = recorder.moments()
    _, profit = recorder.replay(moments, branch=False)
    for index, moment in enumerate(moments):
        own = recorder._profit_usd[moment.step : moment.step + len(profit), moment.run]
        assert profit[:, index] == pytest.approx(own, rel=1e-12)
    steps = {moment.step for moment in moments if moment.run == 0} & {
        moment.step for moment in moments if moment.run == 1
    }
    step = min(steps)
    pair = [moment for moment in moments if moment.step == step]
    _, same_batch = recorder.replay(pair, branch=False)
    assert np.array_equal(same_batch, recorder._profit_usd[step : step + len(same_batch)])


def test_watching_changes_nothing(world: World) -> None:
    alone = rollout(PriceRule(), world, STARTS)
    watched = decision_quality(PriceRule(), world, STARTS)
    for name in alone.data_vars:
        assert np.array_equal(alone[name], watched[name], equal_nan=True), name


def test_moments_are_the_same_for_all_policies_and_follow_from_the_seed(world: World) -> None:
    _, one = quality(Always(1.0), world)
    _, other = quality(Always(-1.0), world)
    _, drawn = quality(Always(1.0), world, moment_seed=1)
    held = [set(sums["moment_step"].to_numpy()[~sums["moment_changed"].to_numpy()]) for sums in (one, other, drawn)]
    assert len(held[0]) == 4
    # The step in which the site is stopped for good is no change of mind: nothing was asked before it.
    assert held[0] == held[1]
    assert held[0] != held[2]


def test_the_number_of_branches_is_bounded(world: World) -> None:
    _, sums = quality(Always(0.0, drawn_by=0), world)
    changed = sums["moment_changed"].to_numpy()
    assert changed.sum() == CHANGES_PER_RUN
    _, few = quality(Always(0.0, drawn_by=0), world, changes_per_run=5, held_per_day=0)
    assert len(few["moment_step"]) == 5
    # Kept moments are spread over the run, not its first ones.
    assert few["moment_step"].to_numpy().max() > 48


def test_a_peak_that_comes_anyway_is_charged_to_both() -> None:
    """Staying off for one cheap hour saves no demand charge where the month's peak comes later anyway; else it does."""
    dear_but_one = (*range(7), *range(8, 12))
    gains = {}
    for hours in (dear_but_one, (*dear_but_one, *range(12, 24))):
        for rate in (0.0, 50.0):
            sums = decision_quality(
                PriceRule(),
                two_price_world(hours, demand_usd_per_kw=rate),
                STARTS[:1],
                options={"month_peak_frac": 0.0},
                held_per_day=0,
            )
            (at,) = np.flatnonzero(sums["moment_step"].to_numpy() == 7 * 12)
            gains[len(hours), rate] = float(sums["moment_gain_usd"][at])
    assert gains[11, 0.0] > 0.0
    # The afternoon's peak may lie a little above or below that of the lone hour: 50 USD of 7,500.
    assert gains[11, 50.0] == pytest.approx(gains[11, 0.0], abs=50.0)
    assert gains[23, 50.0] < -5000.0


def test_a_run_too_short_for_a_branch_is_not_judged() -> None:
    short = two_price_world([], days=1.0 / 24.0)
    value, sums = quality(Always(1.0), short)
    assert np.isnan(value)
    assert sums.sizes["moment"] == 0


def test_a_rollout_without_a_watch_has_no_decision_quality(world: World) -> None:
    assert np.isnan(float(metrics(rollout(Always(1.0), world, STARTS[:1]))["decision_quality"][0]))


def test_nothing_to_judge_is_refused(world: World) -> None:
    with pytest.raises(ParamsError, match="0 moments a day and 0 changes"):
        quality(Always(1.0), world, held_per_day=0, changes_per_run=0)
