"""A world where anybody can say what is right: mining earns about 150 USD/MWh, energy costs 40 or 600."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from minesim.control.fleet import CohortSpec
from minesim.control.observe import schema
from minesim.economics.tariff import DemandCharge, MarketEnergy, Tariff
from minesim.envs.core import EnvConfig, World, build_world
from minesim.scenario import scenario
from minesim.site_spec import SiteSpec

LOW, HIGH, BREAK_EVEN = 40.0, 600.0, 150.0
SITE = SiteSpec("five_cohorts", tuple(CohortSpec("Antminer S19j Pro (104T)", 10) for _ in range(5)))
START = np.datetime64("2023-03-02T00:00:00", "s")


def two_price_world(
    high_hours: Iterable[int], *, days: float = 1.0, limits: str = "free", demand_usd_per_kw: float = 0.0
) -> World:
    """One day (or more) from ``START`` on, dear in the hours named and cheap in all others; prices known ahead."""
    return _world(tuple(high_hours), days, limits, demand_usd_per_kw)


@functools.cache
def _world(high_hours: tuple[int, ...], days: float, limits: str, demand_usd_per_kw: float) -> World:
    hours = 24 * 5
    price = np.full(hours, LOW)
    price[24 + np.asarray(high_hours, int)] = HIGH
    columns = {
        "power_price_usd_per_mwh": price,
        "coin_price_usd": np.full(hours, 28000.0),
        "difficulty": np.full(hours, 3.1e13),
        "temp_amb_c": np.full(hours, 15.0),
        "rel_humidity_pct": np.full(hours, 50.0),
    }
    data = xr.Dataset(
        {name: ("time", values) for name, values in columns.items()},
        coords={"time": pd.date_range("2023-03-01", periods=hours, freq="1h")},
        attrs={"name": "two prices", "site_timezone": "UTC"},
    )
    data["power_price_usd_per_mwh"].attrs = {"units": "USD/MWh", "known": "day_ahead"}
    demand = DemandCharge.constant(demand_usd_per_kw, "test") if demand_usd_per_kw > 0.0 else None
    tariff = Tariff("two prices", MarketEnergy("day_ahead"), 0.0, demand=demand, source="test")
    return build_world(
        EnvConfig(
            scenario=scenario(data, tariff=tariff),
            site=SITE,
            limits=limits,
            difficulty="easy",
            split=None,
            episode_days=days,
        )
    )


class PriceRule:
    """Full power at one price, off at the other.

    Args:
        runs_when_dear: the wrong way round.
        delay: control steps that a decision comes late.
    """

    def __init__(self, *, runs_when_dear: bool = False, delay: int = 0) -> None:
        self.name = "price rule"
        self.runs_when_dear = runs_when_dear
        self.delay = delay
        self._schema = schema(len(SITE.cohorts))
        self._seen: list[np.ndarray] = []

    def act(self, observation: np.ndarray) -> np.ndarray:
        price = self._schema.read(observation, "price_last_usd_per_mwh")
        action = np.where((price > BREAK_EVEN) == self.runs_when_dear, 1.0, -1.0)
        self._seen.append(np.repeat(action, len(SITE.cohorts), axis=-1))
        return self._seen[max(0, len(self._seen) - 1 - self.delay)]

    def reset(self, done: np.ndarray | None = None) -> None:
        self._seen = []


class Always:
    """The same action always, or one drawn anew each step."""

    def __init__(self, action: float, *, drawn_by: int | None = None) -> None:
        self.name = f"always {action}"
        self.action = action
        self._rng = None if drawn_by is None else np.random.default_rng(drawn_by)

    def act(self, observation: np.ndarray) -> np.ndarray:
        shape = (*observation.shape[:-1], len(SITE.cohorts))
        return np.full(shape, self.action) if self._rng is None else self._rng.uniform(-1.0, 1.0, shape)

    def reset(self, done: np.ndarray | None = None) -> None:
        """Nothing to forget."""
