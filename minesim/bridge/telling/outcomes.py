"""Is the twin right? What was measured 10 min, 1 h and 24 h after a decision, against what was predicted.

A prediction says what the site does while its commands are in force, until the next decision. Over a longer horizon
later decisions made their own predictions, so the mean measured over the horizon is compared with the time-weighted
mean of the predictions that were in force: an error at 24 h is then the twin's, and not that of a later decision.

The short horizon shows reactions (ramps, restarts, throttle lag), the long one bias. Relative errors of whole days go
into an interval that may be looked at daily (:mod:`minesim.bridge.rollouts.sequential`).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from minesim.bridge.rollouts.sequential import Anytime, anytime_mean
from minesim.errors import ParamsError, explain

HORIZONS_S = (600.0, 3600.0, 86400.0)
QUANTITIES = ("power_w", "hashrate_ths", "profit_usd_per_h")
COVERAGE_MIN = 0.8
"""Share of a horizon that measurements must cover (assumed)."""
SAMPLE_MAX_S = 300.0
"""A measurement speaks for the time until the next one, at most for so long (assumed: a control step)."""
DAY_S = 86400.0


@dataclass(frozen=True)
class Values:
    """Site values at a time, or means over a time; None where not known.

    Attributes:
        power_w: W.
        hashrate_ths: TH/s.
        profit_usd_per_h: net revenue less energy, USD/h, without demand charges.
    """

    power_w: float | None = None
    hashrate_ths: float | None = None
    profit_usd_per_h: float | None = None

    def get(self, quantity: str) -> float | None:
        """Value by name."""
        if quantity not in QUANTITIES:
            raise ParamsError(explain(f"no quantity {quantity!r}", allowed=", ".join(QUANTITIES)))
        value: float | None = getattr(self, quantity)
        return value


@dataclass(frozen=True)
class Outcome:
    """A prediction and what came of it.

    Attributes:
        at_s: when it was decided, s since 1970 UTC.
        horizon_s: over how long, s.
        predicted: time-weighted mean of the predictions in force.
        measured: time-weighted mean of the measurements.
        decisions: how many were in force within the horizon.
    """

    at_s: float
    horizon_s: float
    predicted: Values
    measured: Values
    decisions: int


def outcome(
    predictions: Sequence[tuple[float, Values]],
    measurements: Sequence[tuple[float, Values]],
    at_s: float,
    horizon_s: float,
) -> Outcome:
    """Compare a horizon with what was predicted for it.

    Args:
        predictions: (time, values from then on), by time.
        measurements: (time, values), by time.
        at_s: start of the horizon, the time of a decision.
        horizon_s: its length, s.

    Returns:
        Outcome; a quantity that was measured or predicted for less than 80 % of the horizon is None.
    """
    end_s = at_s + horizon_s
    times = [time_s for time_s, _ in predictions]
    first = max(0, bisect_right(times, at_s) - 1)
    inside = [(time_s, values) for time_s, values in predictions[first:] if time_s < end_s]
    return Outcome(
        at_s,
        horizon_s,
        _mean(inside, at_s, end_s, hold_s=math.inf),
        _mean([(time_s, values) for time_s, values in measurements if time_s < end_s], at_s, end_s, SAMPLE_MAX_S),
        len(inside),
    )


def _mean(series: Sequence[tuple[float, Values]], from_s: float, to_s: float, hold_s: float) -> Values:
    """Time-weighted mean; each value holds until the next one, at most for ``hold_s``."""
    means: dict[str, float | None] = {}
    for quantity in QUANTITIES:
        told = [(time_s, value) for time_s, values in series if (value := values.get(quantity)) is not None]
        ends = [*(time_s for time_s, _ in told[1:]), to_s]
        total, weight_s = 0.0, 0.0
        for (time_s, value), end_s in zip(told, ends, strict=False):
            held_s = min(end_s, time_s + hold_s, to_s) - max(time_s, from_s)
            if held_s > 0.0:
                total, weight_s = total + held_s * value, weight_s + held_s
        means[quantity] = total / weight_s if weight_s >= COVERAGE_MIN * (to_s - from_s) else None
    return Values(**means)


class Row(Protocol):
    """What the journal keeps of an outcome."""

    @property
    def at_s(self) -> float:
        """When it was decided."""

    @property
    def horizon_s(self) -> float:
        """Over how long."""

    @property
    def measured(self) -> Mapping[str, Any] | None:
        """From :func:`as_document`; None before the horizon is over, or where it cannot be told any more."""


def as_document(found: Outcome) -> dict[str, Any]:
    """What the journal keeps of an outcome, beside its time and horizon."""
    return {"predicted": asdict(found.predicted), "measured": asdict(found.measured), "decisions": found.decisions}


def from_journal(rows: Iterable[Row]) -> list[Outcome]:
    """Outcomes of the journal's rows that are measured."""
    return [
        Outcome(
            row.at_s,
            row.horizon_s,
            _values(row.measured["predicted"]),
            _values(row.measured["measured"]),
            int(row.measured["decisions"]),
        )
        for row in rows
        if row.measured is not None
    ]


class Track:
    """The last day's predictions and measurements; what a new process does not know, it does not tell."""

    def __init__(self) -> None:
        self._predictions: list[tuple[float, Values]] = []
        self._measurements: list[tuple[float, Values]] = []

    def predict(self, at_s: float, values: Values) -> None:
        """Note what is expected from now on."""
        _append(self._predictions, at_s, values)

    def measure(self, at_s: float, values: Values) -> None:
        """Note what is measured now."""
        _append(self._measurements, at_s, values)

    def outcome(self, at_s: float, horizon_s: float) -> Outcome:
        """Compare a horizon that is over; see :func:`outcome`."""
        return outcome(self._predictions, self._measurements, at_s, horizon_s)


def _append(series: list[tuple[float, Values]], at_s: float, values: Values) -> None:
    """Append by time; the clock may have been set back, and what is too old is dropped."""
    while series and series[-1][0] >= at_s:
        series.pop()
    series.append((at_s, values))
    # The prediction in force at the beginning of the longest horizon stays.
    while len(series) > 2 and series[1][0] < at_s - HORIZONS_S[-1] - SAMPLE_MAX_S:
        series.pop(0)


def _values(named: Mapping[str, float | None]) -> Values:
    return Values(**{quantity: named.get(quantity) for quantity in QUANTITIES})


# ------------------------------------------------------------------------------------------------------ calibration


@dataclass(frozen=True)
class Calibration:
    """How well a quantity was predicted at a horizon.

    Attributes:
        quantity, horizon_s: which.
        count: outcomes.
        bias: mean relative error by day, measured over predicted less 1, with an interval valid at every look.
        spread: standard deviation of the relative errors.
        slope: of measured against predicted; 1 where the twin's curve has the right shape, NaN where predictions hardly
            vary.
    """

    quantity: str
    horizon_s: float
    count: int
    bias: Anytime
    spread: float
    slope: float

    def verdict(self, tolerance: float) -> str:
        """``right`` (bias within the tolerance), ``wrong`` (beyond), or ``not known yet``."""
        if -tolerance <= self.bias.low and self.bias.high <= tolerance:
            return "right"
        if self.bias.low > tolerance or self.bias.high < -tolerance:
            return "wrong"
        return "not known yet"


def calibrate(outcomes: Iterable[Outcome], quantity: str, horizon_s: float, alpha: float = 0.05) -> Calibration:
    """Bias, spread and shape of the errors at one horizon.

    Errors are relative to the mean size of the prediction, so that a profit near zero divides nothing by nothing.

    Args:
        outcomes: any; those of another horizon or without the quantity are left out.
        quantity: ``power_w``, ``hashrate_ths`` or ``profit_usd_per_h``.
        horizon_s: s.
        alpha: how often the interval of the bias may ever miss it.
    """
    pairs = _pairs(outcomes, quantity, horizon_s)
    if not pairs:
        return Calibration(quantity, horizon_s, 0, anytime_mean([], alpha), math.nan, math.nan)
    predicted, measured = (np.array([pair[side] for pair in pairs]) for side in (1, 2))
    errors = _relative(predicted, measured)
    by_day: dict[int, list[float]] = defaultdict(list)
    for (at_s, _, _), error in zip(pairs, errors, strict=True):
        by_day[math.floor(at_s / DAY_S)].append(error)
    days = [float(np.mean(by_day[day])) for day in sorted(by_day)]
    spread = float(predicted.std())
    flat = spread <= 0.02 * float(np.abs(predicted).mean())
    slope = math.nan if flat else float(np.polyfit(predicted, measured, 1)[0])
    return Calibration(quantity, horizon_s, len(pairs), anytime_mean(days, alpha), float(np.std(errors)), slope)


def bias_by_day(outcomes: Iterable[Outcome], quantity: str, horizon_s: float) -> list[tuple[float, float, int]]:
    """Whether the error drifts: (start of the UTC day in s since 1970, mean relative error, outcomes) by day."""
    pairs = _pairs(outcomes, quantity, horizon_s)
    if not pairs:
        return []
    errors = _relative(np.array([pair[1] for pair in pairs]), np.array([pair[2] for pair in pairs]))
    by_day: dict[float, list[float]] = defaultdict(list)
    for (at_s, _, _), error in zip(pairs, errors, strict=True):
        by_day[math.floor(at_s / DAY_S) * DAY_S].append(error)
    return [(day_s, float(np.mean(values)), len(values)) for day_s, values in sorted(by_day.items())]


def _pairs(outcomes: Iterable[Outcome], quantity: str, horizon_s: float) -> list[tuple[float, float, float]]:
    """(time, predicted, measured) where both are known, by time."""
    found = []
    for item in outcomes:
        predicted, measured = item.predicted.get(quantity), item.measured.get(quantity)
        if item.horizon_s == horizon_s and predicted is not None and measured is not None:
            found.append((item.at_s, predicted, measured))
    return sorted(found)


def _relative(predicted: np.ndarray, measured: np.ndarray) -> list[float]:
    scale = float(np.abs(predicted).mean())
    return [float(error) for error in (measured - predicted) / scale] if scale > 0.0 else [0.0] * predicted.size


# ----------------------------------------------------------------------------------------------------- profit's parts


@dataclass(frozen=True)
class Market:
    """What a TH/s earns and a MWh costs: USD per TH/s and hour net of fees, USD/MWh all in."""

    revenue_usd_per_ths_h: float
    price_usd_per_mwh: float

    def profit_usd_per_h(self, hashrate_ths: float, power_w: float) -> float:
        """Profit of a site that hashes and draws so much, USD/h."""
        return hashrate_ths * self.revenue_usd_per_ths_h - power_w / 1e6 * self.price_usd_per_mwh


def profit_error(predicted: Values, measured: Values, then: Market, now: Market) -> tuple[float, float]:
    """Split the error of a profit into what prices did and what machines did, USD/h.

    Args:
        predicted, measured: with power and hashrate.
        then: market as it was expected at the decision.
        now: market as it was.

    Returns:
        Error by prices (predicted site, other market) and error by machines (other site, real market); their sum is the
        whole error. Only the second one says something about the twin.

    Raises:
        ParamsError: power or hashrate is not known.
    """
    sites = (predicted.hashrate_ths, predicted.power_w, measured.hashrate_ths, measured.power_w)
    if any(value is None for value in sites):
        raise ParamsError(explain("power or hashrate is not known", fix="Leave the outcome out."))
    expected_ths, expected_w, real_ths, real_w = (float(value or 0.0) for value in sites)
    surprised = now.profit_usd_per_h(expected_ths, expected_w)
    return surprised - then.profit_usd_per_h(expected_ths, expected_w), now.profit_usd_per_h(
        real_ths, real_w
    ) - surprised
