"""What the tuning benchmark says, in numbers: regret, safety and cost by method, gains by spread of the silicon.

Ambients of one unit share its silicon, so that units, not rows, are resampled for intervals. Models are those listed:
intervals say nothing of others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from agents.bo.suite import Cells
from agents.bo.suite_cell import Cell, regret_course
from agents.bo.suite_settings import TAUGHT, SuiteSettings, UnitKey
from minesim.bench.statistics import Estimate
from minesim.catalog.card import fidelity_card
from minesim.tuning.device import Vector

Row = tuple[UnitKey, Cell]
RESAMPLES: Final = 2000
GOOD: Final = 0.01
"""Regret, as a share of stock revenue, that counts as found."""
AT: Final = (10, 20, 30)
"""Trials after which regret is told."""
LEVEL: Final = 0.95


@dataclass(frozen=True)
class Rate:
    """How often something bad happened.

    Attributes:
        events, of: counted.
        bound: one-sided 95 % upper bound of the rate (Clopper and Pearson), as if cases were independent.
    """

    events: int
    of: int
    bound: float


def rate(events: int, of: int) -> Rate:
    """A rate with its upper bound.

    >>> round(rate(0, 300).bound, 4)
    0.0099
    """
    from scipy.stats import binomtest

    found = binomtest(events, of, alternative="less").proportion_ci(LEVEL, method="exact")
    return Rate(events, of, float(found.high))


def over_units(rows: Sequence[Row], statistic: Callable[[np.ndarray], np.ndarray], values: Vector) -> Estimate:
    """A statistic of values (N, ...) with an interval by resampling units with all their ambients.

    Args:
        rows: N of them, in the order of ``values``.
        statistic: of (..., N) values along the last axis.
        values: (N,).
    """
    names = sorted({(key.model, key.seed) for key, _ in rows})
    where = {name: [i for i, (key, _) in enumerate(rows) if (key.model, key.seed) == name] for name in names}
    value = float(statistic(values))
    sizes = {len(found) for found in where.values()}
    if len(names) < 3 or len(sizes) > 1:
        return Estimate(value, math.nan, math.nan)
    table = np.array([where[name] for name in names])
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    # A median of infinities is one, and a quantile between two of them is not a number.
    draws = statistic(values[table[drawn].reshape(RESAMPLES, -1)])
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], method="nearest")
    return Estimate(value, float(low), float(high))


def _mean(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.mean(values, axis=-1))


def _median(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.quantile(values, 0.5, axis=-1, method="inverted_cdf"))


def _nanmean(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.nanmean(values, axis=-1))


def regret_at(rows: Sequence[Row], trial: int) -> Vector:
    """Regret after so many trials, infinite where the recommended setting is unsafe, (N,)."""
    return np.array([regret_course(cell)[min(trial, cell["trials"]) - 1] for _, cell in rows])


def by_method(rows: Sequence[Row]) -> dict[str, Any]:
    """Regret, safety and cost of one method.

    Returns:
        ``regret_N`` (median) and ``found_N`` (share of rows within 1 %) after N trials; ``trips``,
        ``temp_violations`` and ``violations`` among trials; ``rows_broken`` (rows with any broken limit);
        ``unsafe_at_end``; means of ``hours``, ``cost_usd`` and ``seconds``.
    """
    out: dict[str, Any] = {"rows": len(rows)}
    for trial in AT:
        course = regret_at(rows, trial)
        out[f"regret_{trial}"] = over_units(rows, _median, course)
        out[f"found_{trial}"] = over_units(rows, _mean, (course <= GOOD).astype(float))
    trials = sum(cell["trials"] for _, cell in rows)
    for name in ("trips", "temp_violations", "violations"):
        out[name] = rate(sum(cell[name] for _, cell in rows), trials)
    out["rows_broken"] = rate(sum(cell["violations"] > 0 for _, cell in rows), len(rows))
    out["unsafe_at_end"] = rate(sum(not cell["true"]["recommended"]["safe"] for _, cell in rows), len(rows))
    for name in ("hours", "cost_usd", "seconds"):
        out[name] = float(np.mean([cell[name] for _, cell in rows]))
    return out


def against(mine: Sequence[Row], others: Sequence[Row]) -> dict[str, Any]:
    """How much oftener one method finds the optimum than another at equal trials, on the same units."""
    found = {trial: (regret_at(mine, trial) <= GOOD).astype(float) - (regret_at(others, trial) <= GOOD) for trial in AT}
    return {f"found_{trial}": over_units(mine, _mean, values) for trial, values in found.items()}


def gains(tuned: Sequence[Row], stock: Sequence[Row]) -> dict[str, Any]:
    """What tuning for the objective changed against stock, and what the units' curves allow.

    Returns:
        Relative ``hashrate``, ``efficiency`` (less J/TH) and ``power`` changes of the recommended setting; ``profit``
        in shares of stock's profit; the ``possible_*`` gains of :func:`agents.bo.suite_cell.possible`;
        ``stability`` (1 less the worst board's errors), ``profiles_unsafe``, ``stock_unsafe``, and ``hashrate_spread``
        (standard deviation between units of a model in one ambient, relative).
    """
    at = [cell["true"]["recommended"] for _, cell in tuned]
    before = [cell["true"]["stock"] for _, cell in tuned]
    hashrate, power, score = (
        np.array([a[name] / b[name] - 1.0 for a, b in zip(at, before, strict=True)])
        for name in ("hashrate_ths", "power_w", "score")
    )
    out: dict[str, Any] = {
        "hashrate": over_units(tuned, _mean, hashrate),
        "efficiency": over_units(tuned, _mean, 1.0 - (1.0 + power) / (1.0 + hashrate)),
        "power": over_units(tuned, _mean, power),
        "profit": over_units(tuned, _mean, score),
        "stability": over_units(tuned, _mean, np.array([1.0 - a["error_max"] for a in at])),
        "profiles_unsafe": rate(sum(not a["safe"] for a in at), len(at)),
        "stock_unsafe": rate(sum(not b["safe"] for b in before), len(before)),
        "hashrate_spread": _spread(tuned),
    }
    for name in ("hashrate_gain", "efficiency_gain"):
        values = np.array([_number(cell["possible"][name]) for _, cell in stock])
        known = np.isfinite(values)
        out[f"possible_{name}"] = {
            "mean": over_units(stock, _nanmean, values) if known.any() else Estimate(math.nan, math.nan, math.nan),
            "rows": int(known.sum()),
        }
    return out


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _spread(rows: Sequence[Row]) -> float:
    groups: dict[tuple[str, float], list[float]] = {}
    for key, cell in rows:
        groups.setdefault((key.model, key.temp_amb_c), []).append(cell["true"]["recommended"]["hashrate_ths"])
    spreads = [np.std(found, ddof=1) / np.mean(found) for found in groups.values() if len(found) > 1]
    return float(np.mean(spreads)) if spreads else math.nan


def rows_of(cells: Cells, keys: Sequence[UnitKey], name: str) -> list[Row]:
    """Parts of a method on units, in their order."""
    found = [(key, cells.load(key, name)) for key in keys]
    return [(key, cell) for key, cell in found if cell is not None]


def summarise(settings: SuiteSettings, cells: Cells) -> dict[str, Any]:
    """All numbers of a finished benchmark.

    Returns:
        ``methods`` by name; ``bo_on_taught`` on the units that were taught; ``bo_against`` each other method;
        ``by_model``, ``by_temp_amb_c`` of ``bo``; ``gains`` by spread; ``curves`` of the catalog.
    """
    bench = settings.bench
    keys = settings.unit_keys()
    rows = {name: rows_of(cells, keys, name) for name in bench.methods}
    later = [key for key in keys if settings.is_taught(key)]
    out: dict[str, Any] = {"methods": {name: by_method(found) for name, found in rows.items()}}
    if later:
        out["methods"][TAUGHT] = by_method(rows_of(cells, later, TAUGHT))
        out["bo_on_taught"] = by_method(rows_of(cells, later, "bo"))
        fifth = [key for key in later if key.seed == bench.first_seed + bench.teachers]
        out["next_unit"] = by_method(rows_of(cells, fifth, TAUGHT))
    out["bo_against"] = {name: against(rows["bo"], found) for name, found in rows.items() if name != "bo"}
    out["by_model"] = _split(rows["bo"], lambda key: key.model)
    out["by_temp_amb_c"] = _split(rows["bo"], lambda key: f"{key.temp_amb_c:g}")
    out["gains"] = {
        f"{spread:g}": gains(*(rows_of(cells, settings.spread_keys(spread), name) for name in ("bo", "stock")))
        for spread in sorted({1.0, *bench.other_spreads})
    }
    out["curves"] = {model: curve_allows(model) for model in bench.models if not model.startswith("gpu/")}
    return out


def curve_allows(model: str) -> dict[str, float]:
    """What a model's curve in the catalog allows its median unit: energy per hash at stock, and the least of the curve.

    Returns:
        ``stock_j_per_th``, ``least_j_per_th``, and ``hashrate_rel``, the hashrate at the least relative to stock's.
    """
    card = fidelity_card(model)
    unit = card.unit
    stock_ths = float(unit.hashrate_ths(unit.freq_stock_mhz))
    return {
        "stock_j_per_th": unit.power_stock_w / stock_ths,
        "least_j_per_th": card.best_efficiency_j_per_th,
        "hashrate_rel": card.best_power_w
        / card.best_efficiency_j_per_th
        / float(unit.hashrate_ths(unit.freq_stock_mhz)),
    }


def _split(rows: Sequence[Row], part: Callable[[UnitKey], str]) -> Mapping[str, Any]:
    return {
        name: by_method([row for row in rows if part(row[0]) == name])
        for name in dict.fromkeys(part(k) for k, _ in rows)
    }
