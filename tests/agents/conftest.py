"""A small fleet and its observations, written by hand, so that a rule's decision can be checked on paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from agents.baselines import Knowledge
from minesim.control import observe as observing
from minesim.control.actuate import FleetCurves
from minesim.control.channels import ObservationSchema

COHORTS = 2


@pytest.fixture
def fleet() -> FleetCurves:
    """An efficient cohort (30 J/TH at stock, best 27.5) and an old one (50 J/TH everywhere)."""
    return FleetCurves(
        models=("new", "old"),
        count=np.array([10.0, 5.0]),
        power_rated_w=np.array([3000.0, 2000.0]),
        hashrate_rated_ths=np.array([100.0, 40.0]),
        preset_power_w=np.array([[1650.0, 2400.0, 3000.0, 4000.0], [1000.0, 2000.0, 2000.0, 2000.0]]),
        preset_hashrate_ths=np.array([[60.0, 85.0, 100.0, 120.0], [20.0, 40.0, 40.0, 40.0]]),
        preset_fixed_w=np.full((2, 4), 400.0),
        preset_last=np.array([3, 1]),
        net_revenue_factor=np.array([1.0, 1.0]),
        offset=np.array([0, 4]),
    )


@pytest.fixture
def schema() -> ObservationSchema:
    """The schema of a site with two cohorts."""
    return observing.schema(COHORTS)


@pytest.fixture
def knowledge(schema: ObservationSchema, fleet: FleetCurves) -> Knowledge:
    return Knowledge(schema, fleet)


@pytest.fixture
def observe(schema: ObservationSchema) -> Callable[..., np.ndarray]:
    """Build an observation from physical values by channel name; arrays make a batch.

    The default revenue, 0.072 USD per TH/s and day, makes 30 J/TH break even at 100 USD/MWh, 50 J/TH at 60.
    """

    def make(**values: object) -> np.ndarray:
        wanted = {"hash_revenue_usd_per_ths_day": 0.072, "level": 1.0, "hashing": 1.0, **values}
        wanted.setdefault("price_mean_24h_usd_per_mwh", wanted.get("price_last_usd_per_mwh", 0.0))
        rows = np.broadcast_shapes(*(np.shape(v)[:1] for v in wanted.values()))
        result = np.zeros((*rows, schema.size), np.float32)
        for name, value in wanted.items():
            channel = schema.by_name[name]
            number = channel.encode(np.asarray(value, np.float64), xp=_numpy())
            result[..., schema.slices[name]] = number[..., None] if np.ndim(number) == 1 and rows else number
        return result

    return make


def _numpy() -> object:
    from minesim.arrays import NUMPY

    return NUMPY
