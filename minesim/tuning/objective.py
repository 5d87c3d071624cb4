"""What a setting is worth, and what it may not do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from minesim.arrays import Array
from minesim.errors import ParamsError, explain

KINDS: Final = ("profit", "efficiency", "hashrate")


@dataclass(frozen=True)
class Objective:
    """What is to be made large; elementwise, in numpy or torch.

    Attributes:
        kind: ``profit`` (USD a day: revenue less energy less wear), ``efficiency`` (minus J/TH), or ``hashrate``
            (TH/s, with a power cap).
        power_price_usd_per_mwh: what energy costs.
        hashprice_usd_per_ths_day: what a TH/s earns in a day.
        power_cap_w: most wall power; required by ``hashrate``, and binding for the others where given.
    """

    kind: str
    power_price_usd_per_mwh: float
    hashprice_usd_per_ths_day: float
    power_cap_w: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ParamsError(explain(f"objective is {self.kind!r}", allowed=", ".join(map(repr, KINDS))))
        if not np.isfinite(self.power_price_usd_per_mwh):
            raise ParamsError(explain(f"power_price_usd_per_mwh is {self.power_price_usd_per_mwh}", allowed="a number"))
        if not (np.isfinite(self.hashprice_usd_per_ths_day) and self.hashprice_usd_per_ths_day > 0.0):
            raise ParamsError(
                explain(f"hashprice_usd_per_ths_day is {self.hashprice_usd_per_ths_day}", allowed="above 0")
            )
        if self.power_cap_w is None and self.kind == "hashrate":
            raise ParamsError(explain("objective 'hashrate' has no power cap", fix="Give power_cap_w."))
        if self.power_cap_w is not None and not self.power_cap_w > 0.0:
            raise ParamsError(explain(f"power_cap_w is {self.power_cap_w} W", allowed="above 0 W"))

    def profit_usd_per_day(self, hashrate_ths: Array, power_w: Array, wear_usd_per_day: Array | float) -> Array:
        """Revenue less energy less wear, USD a day."""
        revenue = self.hashprice_usd_per_ths_day * hashrate_ths
        return revenue - power_w * (24e-6 * self.power_price_usd_per_mwh) - wear_usd_per_day

    def score(self, hashrate_ths: Array, power_w: Array, wear_usd_per_day: Array | float) -> Array:
        """The number to be made large, in the objective's unit, any shape.

        >>> Objective("profit", 50.0, 0.07).score(100.0, 3000.0, 0.1)
        3.3
        """
        if self.kind == "efficiency":
            return -power_w / (hashrate_ths + 1e-12)
        if self.kind == "hashrate":
            return hashrate_ths
        return self.profit_usd_per_day(hashrate_ths, power_w, wear_usd_per_day)

    @property
    def unit(self) -> str:
        """Unit of the score."""
        return {"profit": "USD/day", "efficiency": "-J/TH", "hashrate": "TH/s"}[self.kind]


@dataclass(frozen=True)
class TuningLimits:
    """What no setting may do.

    Attributes:
        temp_max_c: hottest reading of the chips in whole degrees, degC (the site's limit; firmware calls 85 hot and
            stops at 90).
        error_max: greatest share of a channel's work lost to errors (assumed).
        power_max_w: wall power, W; None for no limit beside the supply's own.
    """

    temp_max_c: float = 80.0
    error_max: float = 0.02
    power_max_w: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.error_max < 1.0:
            raise ParamsError(explain(f"error_max is {self.error_max}", allowed="between 0 and 1"))
        if not np.isfinite(self.temp_max_c):
            raise ParamsError(explain(f"temp_max_c is {self.temp_max_c}", allowed="a temperature in degC"))
