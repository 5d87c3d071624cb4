"""Generated scenarios: calibrated on the real series of 2020-2022, so that an installed wheel works alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from minesim.data import known
from minesim.economics.chain import subsidy_btc_array
from minesim.errors import ScenarioError, explain, nearest
from minesim.scenario.generator.clock import clock_of
from minesim.scenario.generator.coin import generate_coin
from minesim.scenario.generator.load import generate_load, monthly_peaks
from minesim.scenario.generator.noise import harmonics, mixture
from minesim.scenario.generator.parameters import load_parameters
from minesim.scenario.generator.price import LEVELS, generate_price
from minesim.scenario.generator.weather import generate_weather
from minesim.scenario.markets import MARKETS, btc_height
from minesim.scenario.variables import BY_NAME, IS_MISSING

HOUR: Final = np.timedelta64(1, "h")
DAYS_MAX: Final = 3660
PEAK_MONTHS: Final = (6, 7, 8, 9)
PRICE_KNOWN: Final = {"ercot": known.DAY_AHEAD, "pjm": known.AFTER_INTERVAL}


@dataclass(frozen=True)
class Generated:
    """What the generator made.

    Attributes:
        traces: hourly Dataset of the contract.
        peaks: the highest interval of each local month June to September that the period touches, over the whole month.
    """

    traces: xr.Dataset
    peaks: pd.DataFrame


def generate(
    rng: np.random.Generator,
    *,
    market: str = "ercot",
    level: str = "medium",
    start: Any = "2022-06-01",
    days: int = 60,
) -> Generated:
    """Generate weather, power price, coin, difficulty, carbon and coincident peaks.

    Components draw from streams of their own, so that one option does not change the others' numbers. Whole local
    months are generated and cut, so that a month's peak is that of the month and not of the piece.

    Args:
        rng: source of all randomness.
        market: ``ercot`` (day-ahead price, Dallas weather) or ``pjm`` (real-time price, Philadelphia weather).
        level: ``easy``, ``medium`` (the fit) or ``hard``: how wild prices are.
        start: local date of the first day.
        days: number of days, 1 to 3660.

    Returns:
        Dataset and peaks; the first row is the local midnight of ``start``.

    Raises:
        ScenarioError: unknown market or level, or a period that cannot be generated.
    """
    if market not in PRICE_KNOWN:
        raise ScenarioError(explain(f"no generator for market {market!r}", fix=nearest(market, PRICE_KNOWN)))
    if level not in LEVELS:
        raise ScenarioError(explain(f"no difficulty level {level!r}", fix=nearest(level, LEVELS)))
    if not 1 <= days <= DAYS_MAX:
        raise ScenarioError(explain(f"days is {days}", allowed=f"1 to {DAYS_MAX} days", origin="generate"))
    zone = MARKETS[market].site_timezone
    time, keep = _hours(start, days, zone)
    parameters = load_parameters(market)
    clock = clock_of(time, zone)
    weather_rng, price_rng, coin_rng, load_rng, carbon_rng = rng.spawn(5)
    weather = generate_weather(weather_rng, clock, parameters)
    price = generate_price(price_rng, clock, weather, parameters, LEVELS[level])
    day = time.astype("datetime64[D]").astype(np.int64)
    coin = generate_coin(coin_rng, day - day[0], subsidy_btc_array(btc_height(time)), parameters)
    load = generate_load(load_rng, clock, weather.temp_amb_c)
    carbon_noise = mixture(
        carbon_rng, len(time), parameters.array("carbon_noise_weight"), parameters.array("carbon_noise_tau_h")
    )
    carbon_basis = np.concatenate([harmonics(clock.day_phase, 2), harmonics(clock.year_phase, 1)[:, 1:]], axis=1)
    carbon = carbon_basis @ parameters.array("carbon_mean") + parameters.number("carbon_sd") * carbon_noise
    columns = {
        "power_price_usd_per_mwh": price,
        "coin_price_usd": coin.coin_price_usd,
        "difficulty": coin.difficulty,
        "fees_coin_per_block": coin.fees_coin_per_block,
        "temp_amb_c": weather.temp_amb_c,
        "rel_humidity_pct": weather.rel_humidity_pct,
        "carbon_g_per_kwh": np.maximum(carbon, 0.0),
    }
    traces = _as_dataset({name: values[keep] for name, values in columns.items()}, time[keep])
    traces["power_price_usd_per_mwh"].attrs |= {"known": PRICE_KNOWN[market], "known_hour": known.DAY_AHEAD_HOUR}
    traces.attrs = {
        "name": "generated" if market == "ercot" else f"generated-{market}",
        "site_timezone": zone,
        "altitude_m": parameters.number("altitude_m"),
        "licence": "generated; constants fitted to the packaged traces of 2020-2022",
        "source": f"minesim.scenario.generate, market {market}, level {level}",
    }
    return Generated(traces, monthly_peaks(time, load, zone, months=PEAK_MONTHS, program="4CP"))


def _hours(start: Any, days: int, zone: str) -> tuple[npt.NDArray[np.datetime64], slice]:
    """Hours of the whole local months that the period touches, and the period among them."""
    try:
        first = np.datetime64(pd.Timestamp(start).date(), "D")
    except (ValueError, TypeError) as error:
        raise ScenarioError(explain(f"start is {start!r}: {error}", allowed="a date such as 2022-06-01")) from error
    if not np.datetime64("2009-02-01") <= first <= np.datetime64("2040-01-01"):
        raise ScenarioError(explain(f"start is {first}", allowed="2009-02-01 to 2040-01-01", origin="generate"))
    last = first + np.timedelta64(days, "D")
    last_month = (last - np.timedelta64(1, "D")).astype("datetime64[M]")
    months = np.array([first.astype("datetime64[M]"), last_month + np.timedelta64(1, "M")]).astype("datetime64[D]")
    edges = known.utc_of_local_midnight(np.concatenate([months, [first, last]]), zone)
    begin = edges[0].astype("datetime64[h]").astype("datetime64[s]")
    time = np.arange(begin, edges[1], HOUR).astype("datetime64[s]")
    from_row, to_row = (int((edge - begin) / HOUR) for edge in edges[2:])
    return time, slice(from_row, to_row)


def _as_dataset(columns: dict[str, npt.NDArray[np.float64]], time: npt.NDArray[np.datetime64]) -> xr.Dataset:
    variables: dict[str, Any] = {}
    for name, values in columns.items():
        spec = BY_NAME[name]
        dims, data = (("time", "coin"), values[:, None]) if spec.per_coin else (("time",), values)
        variables[name] = (dims, data, {"units": spec.units, "known": spec.known, "long_name": spec.meaning})
    variables[IS_MISSING] = ("time", np.zeros(len(time), bool), {"long_name": "nothing is missing"})
    return xr.Dataset(
        variables,
        coords={"time": ("time", time.astype("datetime64[ns]"), {"long_name": "interval start, UTC"}), "coin": ["BTC"]},
    )
