"""Whole-twin runs whose answer is known from arithmetic on the real series."""

from __future__ import annotations

import numpy as np
import pytest

from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.site_spec import site_spec, without_wear
from tests.twin import real_scenario

DAYS = 5


def _year(market: str, threshold: bool) -> tuple[float, float]:
    """Profit of one S19j Pro over 2023 (USD) and the share of the year it hashed, run as 73 blocks side by side."""
    envs = HashrateTuningVectorEnv(
        73,
        scenario=real_scenario(f"{market}/energy_only"),
        site=without_wear(site_spec("one_s19j_pro")),
        limits="free",
        difficulty="easy",
        split=None,
        episode_days=float(DAYS),
    )
    starts = [np.datetime64("2023-01-01") + np.timedelta64(DAYS * k, "D") for k in range(73)]
    starts[-1] = np.datetime64("2023-12-25T23:00")
    observation, _ = envs.reset(seed=0, options={"start": starts})
    curves = envs.core.curves
    per_mwh = curves.net_revenue_factor * curves.hashrate_rated_ths / (24.0 * curves.power_rated_w * 1e-6)
    profit, hashed = 0.0, 0.0
    for _ in range(envs.world.horizon_steps - 1):
        action = np.ones((73, 1))
        if threshold:
            price = envs.schema.read(observation, "price_last_usd_per_mwh")
            break_even = envs.schema.read(observation, "hash_revenue_usd_per_ths_day") * per_mwh
            action = np.where(price > break_even, -1.0, 1.0)
        observation, _, _, _, infos = envs.step(action)
        profit += infos["profit_usd"].sum()
        hashed += infos["hashrate_ths"].mean() / curves.hashrate_rated_ths[0]
    return float(profit), hashed / envs.world.horizon_steps


@pytest.mark.parametrize(("market", "low", "high"), [("ercot", 0.60, 0.72), ("pjm", 0.03, 0.05)])
def test_on_off_threshold_against_always_on_in_2023(market: str, low: float, high: float) -> None:
    """One S19j Pro, energy only, 10 USD/MWh adder, free limits, no wear, price known when it counts."""
    always, share_always = _year(market, threshold=False)
    rule, share_rule = _year(market, threshold=True)
    assert share_always > 0.99
    assert 0.85 < share_rule < share_always
    assert low <= rule / always - 1.0 <= high
