"""Metrics of a run, each with its formula; the table here is the one that reports and ``docs/metrics.md`` show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from minesim.bench.rollout import MONEY_TERMS
from minesim.units import SECONDS_PER_HOUR

J_PER_KWH = 1000.0 * SECONDS_PER_HOUR


@dataclass(frozen=True)
class Metric:
    """A number that a run is judged by.

    Attributes:
        name: with its unit.
        label: for people.
        units: as in ``name``.
        formula: in words and symbols, as computed.
        better: ``higher``, ``lower`` or ``neither``.
        compute: from the sums of :func:`minesim.bench.rollout.rollout` to values over ``run``.
    """

    name: str
    label: str
    units: str
    formula: str
    better: str
    compute: Callable[[xr.Dataset], xr.DataArray]


def _ratio(above: xr.DataArray, below: xr.DataArray) -> xr.DataArray:
    """``above / below``, NaN where nothing was used (a site that stood still has no efficiency)."""
    return above / below.where(below > 0.0)


_TERM_LABELS = {
    "revenue_usd": ("mining revenue", "sum of hashes paid (after developer fee, pool fee, rejects) x hash revenue"),
    "energy_usd": ("energy cost", "sum of metered energy x all-in energy price"),
    "demand_usd": ("demand charge", "sum of increments of the month's peak x demand rate"),
    "coincident_usd": ("coincident-peak charge", "mean load of each charged interval x its charge per kW"),
    "reserve_usd": ("reserve income", "availability income - penalties for load not held or not shed"),
    "wear_usd": ("wear", "expected repair cost of ageing (Arrhenius in chip temperature)"),
    "restart_usd": ("stops and restarts", "solder fatigue by depth of cooling + expected cost of failed cold starts"),
}

METRICS: tuple[Metric, ...] = (
    Metric(
        "profit_usd",
        "net profit",
        "USD",
        "revenue + reserve - energy - demand - coincident - wear - restart",
        "higher",
        lambda sums: sums["profit_usd"],
    ),
    *(
        Metric(
            name,
            _TERM_LABELS[name][0],
            "USD",
            _TERM_LABELS[name][1],
            "higher" if name in ("revenue_usd", "reserve_usd") else "lower",
            lambda sums, name=name: sums[name],  # type: ignore[misc]
        )
        for name in MONEY_TERMS
    ),
    Metric("energy_kwh", "energy", "kWh", "sum of metered energy", "neither", lambda sums: sums["energy_kwh"]),
    Metric(
        "profit_usd_per_kwh",
        "profit per energy",
        "USD/kWh",
        "profit / energy",
        "higher",
        lambda sums: _ratio(sums["profit_usd"], sums["energy_kwh"]),
    ),
    Metric(
        "efficiency_j_per_th",
        "energy per hash",
        "J/TH",
        "energy at the meter / hashes",
        "lower",
        lambda sums: _ratio(sums["energy_kwh"] * J_PER_KWH, sums["hash_th"]),
    ),
    Metric(
        "revenue_usd_per_kw",
        "revenue per rated power",
        "USD/kW",
        "revenue / rated power of the fleet",
        "higher",
        lambda sums: sums["revenue_usd"] / (sums.attrs["power_rated_w"] * 1e-3),
    ),
    Metric(
        "load_factor",
        "load factor",
        "1",
        "energy / (rated power x duration)",
        "neither",
        lambda sums: sums["energy_kwh"] / (sums.attrs["power_rated_w"] * 1e-3 * sums.attrs["duration_h"]),
    ),
    Metric(
        "off_share",
        "time off",
        "1",
        "miner-hours not hashing / (miners x duration); stopped, booting, changing preset, tripped or in repair",
        "lower",
        lambda sums: sums["off_miner_h"] / (sums.attrs["miners"] * sums.attrs["duration_h"]),
    ),
    Metric(
        "stops_per_miner",
        "stops per miner",
        "1",
        "stops / miners",
        "lower",
        lambda sums: sums["stops"] / sums.attrs["miners"],
    ),
    Metric("trips", "protective trips", "1", "miners that tripped on temperature", "lower", lambda sums: sums["trips"]),
    Metric(
        "violation_share",
        "steps with a violation",
        "1",
        "control steps with constraint cost > 0 / steps (chip over 80 C, or power change over 20 % beyond stops)",
        "lower",
        lambda sums: sums["violation_steps"] / sums.attrs["steps"],
    ),
    Metric(
        "constraint_cost",
        "constraint cost",
        "1",
        "sum of the constraint cost of the steps",
        "lower",
        lambda sums: sums["cost"],
    ),
    Metric(
        "temp_chip_max_c",
        "hottest chip",
        "degC",
        "maximum over steps and cohorts",
        "lower",
        lambda sums: sums["temp_chip_max_c"],
    ),
    Metric(
        "carbon_kg",
        "carbon",
        "kg",
        "sum of energy x grid intensity / 1000 (0 where the scenario has no carbon trace)",
        "lower",
        lambda sums: sums["carbon_g"] / 1000.0,
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}


def metrics(sums: xr.Dataset) -> xr.Dataset:
    """All metrics of the runs of a rollout.

    Args:
        sums: from :func:`minesim.bench.rollout.rollout`.

    Returns:
        Dataset over ``run``, one variable a metric with attributes ``units``, ``long_name``, ``formula``, ``better``.
    """
    return xr.Dataset(
        {
            metric.name: metric.compute(sums)
            .astype(np.float64)
            .assign_attrs(units=metric.units, long_name=metric.label, formula=metric.formula, better=metric.better)
            for metric in METRICS
        },
        coords={name: sums.coords[name] for name in ("start", "seed")},
    )
