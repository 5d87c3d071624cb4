"""The contract of a trace: names, units, bounds and when each variable is usually known; one row a variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from minesim.data import known


@dataclass(frozen=True)
class TraceVariable:
    """One variable of a trace Dataset.

    Attributes:
        name, units: as in the Dataset; an absent ``units`` attribute means these units.
        low, high: the largest range that is taken for possible.
        required: whether a scenario cannot do without.
        known: rule when the Dataset's own ``known`` attribute is absent.
        per_coin: may have a dimension ``coin`` beside ``time``.
        meaning: one line for people.
    """

    name: str
    units: str
    low: float
    high: float
    required: bool
    known: str
    meaning: str
    per_coin: bool = False


VARIABLES: Final[tuple[TraceVariable, ...]] = (
    TraceVariable(
        "power_price_usd_per_mwh", "USD/MWh", -5000.0, 20000.0, True, known.AFTER_INTERVAL, "wholesale energy price"
    ),
    TraceVariable("coin_price_usd", "USD", 1e-12, 1e9, True, known.AT_START, "price of one coin", per_coin=True),
    TraceVariable("difficulty", "1", 1e-12, 1e30, True, known.AT_START, "difficulty in force", per_coin=True),
    TraceVariable("temp_amb_c", "degC", -90.0, 60.0, True, known.AT_START, "outside dry-bulb temperature"),
    TraceVariable("rel_humidity_pct", "%", 0.0, 100.0, True, known.AT_START, "outside relative humidity"),
    TraceVariable("fees_coin_per_block", "BTC", 0.0, 1e4, False, known.NEXT_DAY, "mean fees of a block", per_coin=True),
    TraceVariable("subsidy_coin", "BTC", 0.0, 1e6, False, known.ALWAYS, "new coins of a block", per_coin=True),
    TraceVariable("carbon_g_per_kwh", "g/kWh", 0.0, 3000.0, False, known.AFTER_INTERVAL, "CO2eq of the grid"),
    TraceVariable("pressure_pa", "Pa", 3e4, 1.1e5, False, known.AT_START, "air pressure"),
    TraceVariable("temp_max_fc_c", "degC", -90.0, 60.0, False, known.DAY_AHEAD, "forecast of the local day's maximum"),
    TraceVariable(
        "peak_probability", "1", 0.0, 1.0, False, known.DAY_AHEAD, "forecast: the interval is charged as a peak"
    ),
    TraceVariable("coincident_peak", "1", 0.0, 1.0, False, known.SETTLEMENT, "1 in an interval charged as a peak"),
    TraceVariable(
        "reserve_price_usd_per_mw_h", "USD/MW/h", 0.0, 20000.0, False, known.DAY_AHEAD, "price of an hour of reserve"
    ),
    TraceVariable("reserve_call", "1", 0.0, 1.0, False, known.AT_START, "1 while sold reserve is called"),
    TraceVariable("grid_load_mw", "MW", 0.0, 2e6, False, known.AFTER_INTERVAL, "load of the grid"),
    TraceVariable("cloud_cover_pct", "%", 0.0, 100.0, False, known.AT_START, "cloud cover"),
    TraceVariable("wind_speed_m_per_s", "m/s", 0.0, 120.0, False, known.AT_START, "wind speed"),
)

BY_NAME: Final[dict[str, TraceVariable]] = {variable.name: variable for variable in VARIABLES}
IS_MISSING: Final = "is_missing"
"""Boolean variable over ``time``: the source has no value, and the scenario fills it from the past."""
