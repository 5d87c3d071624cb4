"""What comes next, from what a site has seen: prices, reserve prices, calls and peak hours, fitted on training years.

Everything is fitted on the channels that an observation has, over the training split alone, so that a forecast can
be made from one observation and knows nothing of later years.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from minesim.arrays import NUMPY
from minesim.control.channels import symexp, symlog
from minesim.control.market import PRICE_HOURS
from minesim.envs.core import World
from minesim.errors import ParamsError, ScenarioError, explain
from minesim.scenario.table import TraceTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEADS: Final = 36
"""Hours ahead that are forecast; block 0 is the present hour."""
WEEK_H: Final = 168
QUARTERS: Final = 96
PEAK_LOOK_QUARTERS: Final = 16
"""How far the channel ``peak_probability_next_4h`` looks."""
ROWS_MIN: Final = 500
"""A lead with fewer training rows in which its price was not known keeps the same hour of the latest known day."""
LEVELS: Final = tuple(np.round(np.arange(0.05, 0.951, 0.05), 2))
"""Quantiles of the error that are kept."""
FEATURES: Final = ("constant", "last", "mean_24h", "fill", "fill_before", "fill_after", "rise")
"""Of a price ahead: newest known price, mean of 24 h, the hour of the latest known day (or what is known of it) with
its neighbours, each less its season, and how much the season rises from the newest price to it."""
REWEIGHTINGS: Final = 8
ERROR_MIN: Final = 0.02
RIDGE: Final = 1e-8
"""Enough to decide between features that are the same."""
CALL_PRICE_MAX_USD_PER_MWH: Final = 1000.0


@dataclass(frozen=True)
class Forecast:
    """Coefficients of all forecasts; see ``docs/mpc.md`` for the formulas.

    Attributes:
        scenario: what it was fitted on.
        season: median of symlog(price) in each hour of the local week, (168,).
        weights: of :data:`FEATURES` for each lead, (K, F).
        error: quantiles of what is left, symlog, (K, Q) for :data:`LEVELS`.
        price_low, price_high: range of training prices, USD/MWh.
        ratio_mean, ratio_sd: of log((reserve price + 1) / (energy price + 1)).
        ratio_memory: how much of that ratio's excess is left after 1, 2, ... h, (K,).
        calls_per_usd: calls that start in an hour over its energy price, h per USD/MWh.
        call_h: mean length of a call, h.
        peak_shape: chance of a peak at each quarter of the local day over the day's highest, (96,).
    """

    scenario: str
    season: Floats
    weights: Floats
    error: Floats
    price_low: float
    price_high: float
    ratio_mean: float
    ratio_sd: float
    ratio_memory: Floats
    calls_per_usd: float
    call_h: float
    peak_shape: Floats

    def prices(self, seen: SeenPrices, horizon: int, quantile: float) -> Floats:
        """Energy price of each hour from the present one on, USD/MWh: known where known, else a quantile.

        Args:
            seen: price channels of R sites.
            horizon: hours K, at most :data:`LEADS`.
            quantile: of the forecast's distribution, 0.05 to 0.95.

        Returns:
            (R, K).
        """
        target = _season_ahead(self.season, seen.hour_of_week, horizon)
        features = _features(self.season, seen, target)
        shift = np.array([np.interp(quantile, LEVELS, row) for row in self.error[:horizon]])
        logs = target + (features * self.weights[:horizon]).sum(axis=-1) + shift
        forecast = np.clip(symexp(logs, xp=NUMPY), self.price_low, self.price_high)
        ahead = _ahead(seen.price_hours, horizon)
        lead = np.arange(horizon)
        known = (lead < seen.known_h[:, None]) & (lead < PRICE_HOURS)
        return np.where(known, ahead, forecast)

    def reserve_prices(self, next_usd_per_mw_h: Floats, prices: Floats) -> Floats:
        """Expected reserve price of each hour, USD/MW-h, (R, K); the present hour's entry is that of the next.

        Args:
            next_usd_per_mw_h: price of the next hour, as observed, (R,).
            prices: energy prices of the hours, (R, K).
        """
        base = np.maximum(prices, 0.0) + 1.0
        excess = np.log((np.maximum(next_usd_per_mw_h, 0.0) + 1.0) / base[:, min(1, base.shape[1] - 1)])
        left = np.concatenate([[1.0, 1.0], self.ratio_memory])[: prices.shape[1]]
        spread = 0.5 * self.ratio_sd**2 * (1.0 - left**2)
        logs = self.ratio_mean + left * (excess[:, None] - self.ratio_mean) + spread
        result = base * np.exp(logs) - 1.0
        result[:, :2] = next_usd_per_mw_h[:, None]
        return np.maximum(result, 0.0)

    def calls_per_h(self, prices: Floats) -> Floats:
        """Expected number of calls that start in each hour, shape of ``prices``."""
        return self.calls_per_usd * np.clip(prices, 0.0, CALL_PRICE_MAX_USD_PER_MWH)

    def peak_probability(
        self, quarter: Ints, now: Floats, next_4h: Floats, horizon: int, next_day_factor: float
    ) -> Floats:
        """Mean chance of a charged peak in the quarter hours of each hour ahead, (R, K).

        The day's chance follows from the largest one within 4 h and the usual shape of a day; the next local day
        counts ``next_day_factor`` times, because its weather is not seen.

        Args:
            quarter: present quarter of the local day, 0 to 95, (R,).
            now, next_4h: observed chances, (R,).
            horizon: hours K.
            next_day_factor: 0 to 1.
        """
        ahead = quarter[:, None] + np.arange(PEAK_LOOK_QUARTERS)
        shape = np.append(self.peak_shape, 0.0)
        highest = shape[np.minimum(ahead, QUARTERS)].max(axis=1)
        day = np.where(highest > 1e-3, next_4h / np.maximum(highest, 1e-3), next_4h)
        hours = quarter[:, None] // 4 + np.arange(horizon)
        hourly = self.peak_shape.reshape(-1, 4).mean(axis=1)[hours % 24]
        chance: Floats = np.minimum(day[:, None] * hourly * np.where(hours < 24, 1.0, next_day_factor), 1.0)
        chance[:, 0] = now
        return chance

    def to_plain(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in values.items()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Forecast:
        """The forecast back from :meth:`to_plain`.

        Raises:
            ParamsError: a value is missing, unknown or not finite.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            wrong = sorted(set(values) ^ names)
            raise ParamsError(
                explain(f"a forecast with wrong or missing values: {', '.join(wrong)}", origin="forecast")
            )
        made: dict[str, Any] = {
            name: np.array(v, np.float64) if isinstance(v, list) else v for name, v in values.items()
        }
        for name, value in made.items():
            if name != "scenario" and not np.isfinite(value).all():
                raise ParamsError(explain(f"{name} of a forecast is not finite", origin="forecast"))
        frozen: dict[str, Any] = {name: _frozen(v) if isinstance(v, np.ndarray) else v for name, v in made.items()}
        return cls(**frozen)


@dataclass(frozen=True)
class SeenPrices:
    """Price channels of R sites.

    Attributes:
        hour_of_week: present hour of the local week, Monday 0:00 first, (R,).
        last, mean_24h: newest known price and mean of a day, USD/MWh, (R,).
        price_hours: known or filled price of each of the next 24 h, (R, 24).
        known_h: how far ahead prices are known, h, (R,).
    """

    hour_of_week: Ints
    last: Floats
    mean_24h: Floats
    price_hours: Floats
    known_h: Floats


def hour_of_week(sine: Floats, cosine: Floats) -> Ints:
    """Hour of the local week from its circle, 0 to 167."""
    return np.floor(_turns(sine, cosine) * WEEK_H + 1e-3).astype(np.int64) % WEEK_H


def quarter_of_day(sine: Floats, cosine: Floats) -> Ints:
    """Quarter hour of the local day from its circle, 0 to 95."""
    return np.rint(_turns(sine, cosine) * QUARTERS).astype(np.int64) % QUARTERS


def _turns(sine: Floats, cosine: Floats) -> Floats:
    return np.asarray(np.arctan2(sine, cosine) / (2.0 * np.pi) % 1.0, np.float64)


def _log(price: Floats) -> Floats:
    return np.asarray(symlog(price, xp=NUMPY), np.float64)


def _season_ahead(season: Floats, hour: Ints, horizon: int) -> Floats:
    return np.asarray(season[(hour[:, None] + np.arange(horizon)) % WEEK_H])


def _ahead(price_hours: Floats, horizon: int) -> Floats:
    """Price or fill of each hour ahead; beyond the window the same hour a day earlier, (R, K)."""
    return np.asarray(price_hours[:, np.arange(horizon) % PRICE_HOURS])


def _features(season: Floats, seen: SeenPrices, target: Floats) -> Floats:
    """What a price is regressed on, symlog, (R, K, F) in the order of :data:`FEATURES`."""
    last_hour = np.where(seen.known_h >= 1.0, seen.hour_of_week, seen.hour_of_week - 1) % WEEK_H
    horizon = target.shape[1]
    fill = _log(_ahead(seen.price_hours, horizon + 1))
    before = _log(seen.price_hours[:, (np.arange(horizon) - 1) % PRICE_HOURS])
    columns = {
        "constant": np.ones_like(target),
        "last": (_log(seen.last) - season[last_hour])[:, None],
        "mean_24h": (_log(seen.mean_24h) - season.mean())[:, None],
        "fill": fill[:, :-1] - target,
        "fill_before": before - target,
        "fill_after": fill[:, 1:] - target,
        "rise": target - season[last_hour][:, None],
    }
    return np.stack([np.broadcast_to(columns[name], target.shape) for name in FEATURES], axis=-1)


def least_absolute(features: Floats, target: Floats) -> Floats:
    """Weights with the least sum of absolute errors, by reweighted least squares; (F,) from (R, F) and (R,).

    Spikes of a price are many times its spread; least squares would fit little else.
    """
    features = np.ascontiguousarray(features)
    ridge = RIDGE * len(target) * np.eye(features.shape[1])
    scale = np.ones(len(target))
    weights: NDArray[np.floating] = np.zeros(features.shape[1])
    for _ in range(REWEIGHTINGS):
        weighted = (features * scale[:, None]).T
        weights = np.linalg.solve(weighted @ features + ridge, weighted @ target)
        scale = 1.0 / np.maximum(np.abs(target - features @ weights), ERROR_MIN)
    return np.asarray(weights, np.float64)


def _frozen(values: Floats) -> Floats:
    values = np.array(values, np.float64)
    values.flags.writeable = False
    return values


def fit_forecast(world: World) -> Forecast:
    """Fit all forecasts on the training split of ``world.table``; nothing else of the table is read.

    Raises:
        ScenarioError: the scenario has no training split, or less than two weeks of it.
    """
    table = world.table
    period = table.rows_of_split("train")
    per_hour = round(3600.0 / table.dt_s)
    market = {name: values[period] for name, values in _channels(table, period).items()}
    clock = np.asarray(table.settle[period, table.settle_index["local_hour"]])
    price = np.asarray(table.settle[period, table.settle_index["energy_price_usd_per_mwh"]])
    opens = np.flatnonzero(np.abs(clock - np.rint(clock)) < 1e-6)
    if len(opens) < 2 * WEEK_H:
        raise ScenarioError(
            explain(
                f"{len(opens)} h of training data",
                allowed="two weeks or more",
                origin=f"scenario {table.name!r}",
                fix="Take a scenario with a longer split 'train'.",
            )
        )
    at = {name: values[opens] for name, values in market.items()}
    hour = hour_of_week(at["week_sin"], at["week_cos"])
    seen = SeenPrices(
        hour,
        at["price_last_usd_per_mwh"],
        at["price_mean_24h_usd_per_mwh"],
        np.stack([at[f"price_h{k:02d}_usd_per_mwh"] for k in range(PRICE_HOURS)], axis=1),
        at["price_known_h"],
    )
    logs = _log(price)
    season = np.array([np.median(logs[opens][hour == h]) if (hour == h).any() else np.nan for h in range(WEEK_H)])
    season = np.where(np.isnan(season), np.nanmedian(season), season)
    weights, error = _fit_prices(season, seen, logs, opens, per_hour)
    ratio_mean, ratio_sd, memory = _fit_ratio(table, period, price, opens)
    calls_per_usd, call_h = _fit_calls(table, period, price)
    return Forecast(
        scenario=world.scenario.name,
        season=_frozen(season),
        weights=_frozen(weights),
        error=_frozen(error),
        price_low=float(price.min()),
        price_high=float(price.max()),
        ratio_mean=ratio_mean,
        ratio_sd=ratio_sd,
        ratio_memory=_frozen(memory),
        calls_per_usd=calls_per_usd,
        call_h=call_h,
        peak_shape=_frozen(_peak_shape(market["peak_probability"], clock)),
    )


def _channels(table: TraceTable, period: slice) -> dict[str, Floats]:
    """Decoded market channels; rows outside the period are left empty so that nothing can be read there."""
    result = {}
    for column, channel in enumerate(table.market_channels):
        values = np.full(table.size, np.nan)
        values[period] = channel.decode(table.market[period, column].astype(np.float64), xp=NUMPY)
        result[channel.name] = values
    return result


def _fit_prices(season: Floats, seen: SeenPrices, logs: Floats, opens: Ints, per_hour: int) -> tuple[Floats, Floats]:
    """Least absolute error of each lead over the hours in which its price was not known."""
    target = _season_ahead(season, seen.hour_of_week, LEADS)
    features = _features(season, seen, target)
    weights = np.tile([1.0 * (name == "fill") for name in FEATURES], (LEADS, 1))
    error = np.zeros((LEADS, len(LEVELS)))
    for lead in range(LEADS):
        rows = opens + lead * per_hour
        use = rows < len(logs)
        if lead < PRICE_HOURS:
            use &= lead >= seen.known_h
        if use.sum() < ROWS_MIN:
            continue
        excess = logs[rows[use]] - target[use, lead]
        weights[lead] = least_absolute(features[use, lead], excess)
        error[lead] = np.quantile(excess - features[use, lead] @ weights[lead], LEVELS)
    return weights, error


def _fit_ratio(table: TraceTable, period: slice, price: Floats, opens: Ints) -> tuple[float, float, Floats]:
    """Mean, spread and memory of the log ratio of reserve price to energy price, hour by hour."""
    reserve = np.asarray(table.settle[period, table.settle_index["reserve_price_usd_per_mw_h"]])[opens]
    if not (reserve > 0.0).any():
        return 0.0, 0.0, np.zeros(LEADS)
    ratio = np.log((np.maximum(reserve, 0.0) + 1.0) / (np.maximum(price[opens], 0.0) + 1.0))
    excess = ratio - ratio.mean()
    memory = [float(excess[lead:] @ excess[:-lead]) for lead in range(1, LEADS + 1)]
    return float(ratio.mean()), float(ratio.std()), np.clip(np.array(memory) / float(excess @ excess), 0.0, 1.0)


def _fit_calls(table: TraceTable, period: slice, price: Floats) -> tuple[float, float]:
    """Calls that start in an hour over its price, and their mean length, h."""
    call = np.asarray(table.settle[period, table.settle_index["reserve_call"]])
    starts = int((np.diff(call, prepend=0.0) > 0.0).sum())
    if not starts:
        return 0.0, 0.0
    row_h = table.dt_s / 3600.0
    price_h = float(np.clip(price, 0.0, CALL_PRICE_MAX_USD_PER_MWH).sum()) * row_h
    return starts / price_h, float(call.sum()) * row_h / starts


def _peak_shape(chance: Floats, clock: Floats) -> Floats:
    """Mean predicted chance of each quarter of the day over that of the likeliest, (96,)."""
    quarter = np.rint(clock * 4.0).astype(np.int64) % QUARTERS
    mean = np.bincount(quarter, chance, QUARTERS) / np.maximum(np.bincount(quarter, minlength=QUARTERS), 1)
    return np.asarray(mean / mean.max() if mean.max() > 0.0 else mean)
