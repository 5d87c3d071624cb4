"""MPC on price days made by hand: break-even is 100 USD/MWh (new, 3 kW) and 60 (old, 2 kW)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.baselines import Knowledge, Threshold, ThresholdParams
from agents.baselines.forecast import FEATURES, LEADS, LEVELS, Forecast, fit_forecast
from agents.baselines.mpc import MPC, MPCParams, build_mpc, mpc_candidates, tuned_mpc
from agents.baselines.planning import kinds_of, nearest_state, price_of_load
from agents.baselines.table import tuned_record
from agents.baselines.tuning import pick, try_policies
from minesim.arrays import NUMPY
from minesim.bench.rollout import Panel, rollout
from minesim.control.actuate import FleetCurves, target_level
from minesim.control.observe import schema as schema_of
from minesim.control.policy import Policy
from minesim.envs.core import EnvConfig, SiteCore, World, build_world
from minesim.errors import ActionError, ParamsError

Observe = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def flat() -> Forecast:
    """A forecast that keeps the same hour of the latest known day, without error."""
    return Forecast(
        scenario="by hand",
        season=np.zeros(168),
        weights=np.tile([1.0 * (name == "fill") for name in FEATURES], (LEADS, 1)),
        error=np.zeros((LEADS, len(LEVELS))),
        price_low=-1e4,
        price_high=1e4,
        ratio_mean=0.0,
        ratio_sd=0.0,
        ratio_memory=np.zeros(LEADS),
        calls_per_usd=0.0,
        call_h=1.0,
        peak_shape=np.zeros(96),
    )


def clock(hour: float) -> dict[str, float]:
    return {"hour_sin": np.sin(2 * np.pi * hour / 24), "hour_cos": np.cos(2 * np.pi * hour / 24)}


def day(prices: list[float], known_h: float = 24.0, **more: object) -> dict[str, object]:
    """Observation values of a price window; hours beyond the list cost 20 USD/MWh."""
    window = prices + [20.0] * (24 - len(prices))
    named = {f"price_h{k:02d}_usd_per_mwh": p for k, p in enumerate(window)}
    return {"price_last_usd_per_mwh": window[0], "price_known_h": known_h, "site_power_frac": 1.0, **named, **more}


def planned(mpc: MPC, observation: np.ndarray) -> np.ndarray:
    """Levels that the site's own code reads from the action."""
    running = (mpc.knowledge.schema.read(observation, "level") > 0).astype(np.float32)
    action = mpc.act(observation)
    return np.asarray(target_level(action[..., :2], running, mpc.knowledge.fleet.level_min, xp=NUMPY))


@pytest.mark.parametrize(
    ("price", "hours", "stop_usd", "start_h", "stops"),
    [
        # A new miner at its lowest preset (1.65 kW, 60 TH/s: 0.18 USD/h) is what an hour at 160 compares with:
        # staying loses 0.264 - 0.18 = 0.084 USD an hour.
        (160.0, 1, 0.08, 0.0, True),
        (160.0, 1, 0.09, 0.0, False),
        (160.0, 2, 0.16, 0.0, True),
        (160.0, 2, 0.18, 0.0, False),
        # The start costs 0.1 h of the 0.24 USD/h that stock earns at 20 USD/MWh.
        (160.0, 1, 0.055, 0.1, True),
        (160.0, 1, 0.065, 0.1, False),
        (90.0, 5, 0.0, 0.0, False),
    ],
)
def test_it_stops_exactly_when_the_saving_exceeds_stop_and_downtime(
    knowledge: Knowledge,
    flat: Forecast,
    observe: Observe,
    price: float,
    hours: int,
    stop_usd: float,
    start_h: float,
    stops: bool,
) -> None:
    mpc = MPC(knowledge, flat, MPCParams(stop_usd=stop_usd, start_h=start_h, change_h=0.0))
    level = planned(mpc, observe(**day([price] * hours)))
    assert (level[0] == 0.0) == stops


def test_it_stays_off_through_a_short_cheap_gap(knowledge: Knowledge, flat: Forecast, observe: Observe) -> None:
    gap = [80.0, 300.0, 300.0]
    mpc = MPC(knowledge, flat, MPCParams(stop_usd=0.2, start_h=0.1))
    # An hour at 80 earns 0.06 USD, less than the stop that follows costs: a stopped new miner waits.
    assert planned(mpc, observe(**day(gap), level=0.0))[0] == 0.0
    # A running one uses the hour and stops then.
    mpc.reset()
    assert planned(mpc, observe(**day(gap)))[0] > 0.0


def test_it_sees_a_dear_day_end_and_waits_for_the_unknown_by_forecast(
    knowledge: Knowledge, flat: Forecast, observe: Observe
) -> None:
    params = MPCParams(stop_usd=0.3, start_h=0.0, change_h=0.0, horizon_h=6)
    # 0.084 USD an hour: three hours do not pay a stop, six do; nothing is known, so the window is the forecast.
    assert planned(MPC(knowledge, flat, params), observe(**day([160.0] * 3, known_h=0.0)))[0] > 0.0
    assert planned(MPC(knowledge, flat, params), observe(**day([160.0] * 6, known_h=0.0)))[0] == 0.0
    dearer = replace(flat, error=np.full((LEADS, len(LEVELS)), 1.0))
    assert planned(MPC(knowledge, dearer, params), observe(**day([160.0] * 3, known_h=0.0)))[0] == 0.0
    # Known prices are not moved by the error of the forecast.
    assert planned(MPC(knowledge, dearer, params), observe(**day([90.0] * 24, known_h=24.0)))[0] > 0.0


def test_peaks_and_demand_have_a_price(knowledge: Knowledge, flat: Forecast, observe: Observe) -> None:
    params = MPCParams(call_factor=1.0, stop_usd=0.01, start_h=0.0, change_h=0.0, overhead=1.0)
    peak = {"peak_probability": 0.01, "peak_probability_next_4h": 0.01, "cp_rate_usd_per_kw": 18.9}
    assert planned(MPC(knowledge, flat, params), observe(**day([20.0]), **peak)) == pytest.approx([0.0, 0.0])
    # On the last day of a month nothing earns 36 USD/kW: the peak so far, half of the 40 kW, is not exceeded.
    late = {"month_fraction": 0.97, "demand_rate_usd_per_kw": 36.0, "month_peak_frac": 0.5, "hashing": 0.5}
    level = planned(MPC(knowledge, flat, params), observe(**day([20.0]), **late))
    assert level @ (knowledge.fleet.count * knowledge.fleet.power_rated_w) <= 20_000.0 * 1.01
    early = {**late, "month_fraction": 0.0, "demand_rate_usd_per_kw": 10.0}
    level = planned(MPC(knowledge, flat, params), observe(**day([20.0]), **early))
    assert level == pytest.approx([1.0, 1.0], abs=1e-3)


def test_reserve_is_offered_held_and_shed(knowledge: Knowledge, flat: Forecast, observe: Observe) -> None:
    sells = replace(knowledge, offers_reserve=True)
    mpc = MPC(sells, flat, MPCParams(unheld_chance=0.5))
    paid = day([140.0] * 24, reserve_price_usd_per_mw_h=100.0)
    action = mpc.act(observe(**paid, **clock(8.0)))
    assert action.shape == (3,)
    assert action[2] == pytest.approx(1.0, abs=1e-3)
    assert action[0] > -0.9
    # A demanding chance offers less: one in a thousand is 3.09 spreads of 1 %.
    careful = MPC(sells, flat, MPCParams(unheld_chance=1e-3))
    assert 0.5 * (careful.act(observe(**paid, **clock(8.0)))[2] + 1.0) == pytest.approx(1.0 - 0.0309, abs=1e-3)
    called = {**day([20.0] * 24, reserve_price_usd_per_mw_h=100.0), "reserve_call": 1.0, "reserve_held_frac": 1.0}
    assert planned(mpc, observe(**called, **clock(8.25))) == pytest.approx([0.0, 0.0])
    unpaid = MPC(sells, flat, MPCParams())
    action = unpaid.act(observe(**day([300.0] * 24), **clock(8.0)))
    assert action[:2] == pytest.approx([-1.0, -1.0])
    assert action[2] == pytest.approx(-1.0)


def test_it_plans_once_an_hour_and_when_something_happens(
    knowledge: Knowledge, flat: Forecast, observe: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    mpc = MPC(knowledge, flat)
    solved: list[int] = []
    real = mpc._solve
    monkeypatch.setattr(mpc, "_solve", lambda o, *more: (solved.append(len(o)), real(o, *more))[1])
    three = {"price_last_usd_per_mwh": np.full(3, 20.0)}
    for hour in (8.0, 8.0, 8.25, 8.75, 9.0):
        mpc.act(observe(**day([20.0]) | three, **clock(hour)))
    assert solved == [3, 3]
    mpc.act(observe(**day([20.0]) | {"price_last_usd_per_mwh": np.array([20.0, 500.0, 20.0])}, **clock(9.25)))
    mpc.reset(np.array([True, False, False]))
    mpc.act(observe(**day([20.0]) | {"price_last_usd_per_mwh": np.array([20.0, 500.0, 20.0])}, **clock(9.5)))
    assert solved == [3, 3, 1, 1]


def test_a_batch_acts_as_its_rows_alone(mixed: World, forecast: Forecast) -> None:
    """Over a day of the twin, with a reset of one row on the way."""
    core = SiteCore(mixed, 3)
    core.seed([0, 1, 2])
    seen = core.reset(options={"split": "validation"})
    batch = build_mpc(mixed, None, forecast)
    alone = [build_mpc(mixed, None, forecast) for _ in range(3)]
    for step in range(150):
        action = batch.act(seen)
        for row, policy in enumerate(alone):
            assert np.array_equal(action[row], policy.act(seen[row])), (step, row)
        if step == 70:
            batch.reset(np.array([False, True, False]))
            alone[1].reset()
        seen = core.step(action).observation


def test_actions_do_not_change_with_the_future(mixed: World) -> None:
    """Everything after two hours is another world; so are the validation and test years that follow."""
    start = mixed.table.start_utc[mixed.table.rows_of_split("validation").start + 96 * 30]
    later = mixed.table.row_of(start) + 9
    settle, market = mixed.table.settle.copy(), mixed.table.market.copy()
    settle[later:, mixed.table.settle_index["energy_price_usd_per_mwh"]] += 1000.0
    market[later:] = 0.9 * market[later:]
    actions = []
    for world in (mixed, replace(mixed, table=replace(mixed.table, settle=settle, market=market))):
        core, mpc = SiteCore(world, 1), build_mpc(world)
        seen = core.reset(options={"start": start, "split": None})
        actions.append([])
        for _ in range(24):
            actions[-1].append(mpc.act(seen))
            seen = core.step(actions[-1][-1]).observation
    assert np.array_equal(*actions)


def test_torch_gets_torch(knowledge: Knowledge, flat: Forecast, observe: Observe) -> None:
    seen = observe(**day([160.0] * 5) | {"price_last_usd_per_mwh": np.full(4, 160.0)})
    action = MPC(knowledge, flat).act(torch.from_numpy(seen))
    assert isinstance(action, torch.Tensor)
    assert action.dtype == torch.float32
    assert np.array_equal(action.numpy(), MPC(knowledge, flat).act(seen))


def test_it_is_a_policy_and_refuses_what_is_no_observation(
    knowledge: Knowledge, flat: Forecast, observe: Observe
) -> None:
    mpc = MPC(knowledge, flat)
    assert isinstance(mpc, Policy)
    with pytest.raises(ActionError, match=r"'mpc' got an observation of 3 numbers; allowed: 67"):
        mpc.act(np.zeros(3, np.float32))
    seen = observe(**day([20.0]))
    seen[4] = np.nan
    with pytest.raises(ActionError, match="1 entries that are not numbers"):
        mpc.act(seen)
    for wrong in ({"horizon_h": 99}, {"quantile": 0.0}, {"stop_usd": -1.0}, {"unheld_chance": 0.0}):
        with pytest.raises(ParamsError, match=next(iter(wrong))):
            MPCParams(**wrong)


def test_states_and_steps(fleet: FleetCurves) -> None:
    kinds = kinds_of(replace(fleet, count=np.array([10.0, 5.0])))
    assert sorted(kinds.of_cohort) == [0, 1]
    new = kinds.of_cohort[0]
    # 2.4 kW is throttled stock (2,000 of 2,600 W that a throttle reaches): 76.9 TH/s instead of the preset's 85.
    assert kinds.earn_ths[new] == pytest.approx([0.0, 60.0, 100.0 * 2000 / 2600, 100.0, 100.0], rel=1e-6)
    assert nearest_state(kinds, np.array([[0.0, 1.0], [0.56, 0.5]])).tolist() == [[0, 2], [1, 1]]
    # All 40 kW are used up to 50 J/TH: 60 USD/MWh; 36 kW just below it, nothing at once above the best step.
    price = price_of_load(kinds, np.array([0.0, 0.5, 0.9, 1.0]), np.full(4, 0.072))
    assert price[0] == pytest.approx(0.072 / 24 * 60.0 / 1650e-6)
    assert price[0] > price[1] > price[2]
    assert price[2] == pytest.approx(60.0)
    assert price[3] == -np.inf


@pytest.fixture(scope="module")
def mixed() -> World:
    return build_world(EnvConfig(scenario="ercot/mixed", split=None, episode_days=1.0))


@pytest.fixture(scope="module")
def forecast(mixed: World) -> Forecast:
    return fit_forecast(mixed)


def test_with_dear_stops_it_is_at_least_as_good_as_any_threshold() -> None:
    """Two days in which prices cross the break-even every few hours, on a site whose stops cost 1 USD a miner."""
    world = build_world(EnvConfig(scenario="ercot", site="one_s19j_pro", split=None, episode_days=2.0))
    start = np.datetime64("2023-03-04", "s")
    rows = slice(world.table.row_of(start), world.table.row_of(start) + 8 * 96)
    hours = np.arange(8 * 24)
    price = np.repeat(np.where(hours % 8 < 3, 150.0, 40.0), 4)
    settle, market = world.table.settle.copy(), world.table.market.copy()
    settle[rows, world.table.settle_index["energy_price_usd_per_mwh"]] = price
    channels = {channel.name: (i, channel) for i, channel in enumerate(world.table.market_channels)}
    for name, ahead in (("price_last_usd_per_mwh", 0), *((f"price_h{k:02d}_usd_per_mwh", k) for k in range(24))):
        column, channel = channels[name]
        market[rows, column] = channel.encode(np.roll(price, -4 * ahead), xp=NUMPY)
    column, channel = channels["price_known_h"]
    market[rows, column] = channel.encode(24.0, xp=NUMPY)
    miners = replace(world.params.miners, stop_usd=np.full(1, 1.0))
    world = replace(
        world,
        table=replace(world.table, settle=settle, market=market),
        params=replace(world.params, miners=miners),
    )
    knowledge = Knowledge(schema_of(1), world.params.curves)
    thresholds = [Threshold(knowledge, ThresholdParams(factor)) for factor in (0.7, 1.0, 1.2, 100.0)]
    policies = [build_mpc(world, MPCParams(stop_usd=1.2)), *thresholds]
    runs = rollout(Panel(policies, 1), world, np.repeat(start, len(policies)))
    mpc, *others, always = runs["profit_usd"].to_numpy()
    assert mpc > max(others)
    assert mpc >= always - 1e-9
    assert runs["stops"].to_numpy()[0] == 0.0
    assert min(runs["stops"].to_numpy()[1:4]) > 0.0


def test_candidates_are_what_matters_and_packaged_parameters_are_among_them(mixed: World) -> None:
    assert len(mpc_candidates(mixed)) == 9
    assert tuned_mpc(mixed) in mpc_candidates(mixed)
    assert tuned_mpc(mixed).call_factor == tuned_record()["ercot/mixed"]["mpc"]["params"]["call_factor"]
    tiny = build_world(EnvConfig(site="one_s19j_pro", split=None, episode_days=1.0 / 24.0, difficulty="easy"))
    candidates = mpc_candidates(tiny)
    assert len(candidates) == 3
    forecast = fit_forecast(tiny)
    policies = [build_mpc(tiny, params, forecast) for params in candidates]
    best, profit_usd = pick(try_policies(policies, tiny, tiny.table.start_utc[[4000]]))
    assert 0 <= best < 3
    assert np.isfinite(profit_usd)
