"""What a device must tell to be tuned: its knobs, what a setting settles to, how far one unit differs from the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from minesim.arrays import NUMPY
from minesim.errors import ParamsError, explain
from minesim.physics import stability

Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Knob:
    """One number that can be set.

    Attributes:
        name: with its unit (``volt_v``).
        low, high: bounds.
        step: settable values are ``low``, ``low + step``, ...
    """

    name: str
    low: float
    high: float
    step: float

    def __post_init__(self) -> None:
        numbers = (self.low, self.high, self.step)
        if not (all(np.isfinite(numbers)) and self.low < self.high and 0.0 < self.step <= self.high - self.low):
            raise ParamsError(
                explain(
                    f"knob {self.name} runs from {self.low:g} to {self.high:g} in steps of {self.step:g}",
                    allowed="finite bounds, low below high, and a step that fits between",
                    fix="Give the lower bound first.",
                )
            )

    @property
    def count(self) -> int:
        """How many values can be set."""
        return int(np.floor((self.high - self.low) / self.step + 1e-9)) + 1

    def snap(self, values: Vector) -> Vector:
        """The nearest values that can be set."""
        index = np.clip(np.rint((values - self.low) / self.step), 0, self.count - 1)
        return np.asarray(self.low + index * self.step)


@dataclass(frozen=True)
class Settled:
    """What settings come to once temperatures have settled, for N settings, C error channels and K sensors.

    Attributes:
        hashrate_clean_ths: without errors, TH/s, (N,).
        share_at_risk: share of the hashrate that is lost if a channel's work is all wrong, (N, C).
        margin_rel: margin of each channel over the onset of its errors, (N, C).
        power_w: at the wall, W, (N,).
        temp_c: what the sensors show, degC, (N, K).
        temp_peak_c: hottest reading on the way, degC, (N,).
        load_ratio: load of the supply over the load at which it shuts down, (N,).
        ageing_rel: rate of ageing relative to the reference, (N,).
        fan_duty: share of full speed, (N,).
    """

    hashrate_clean_ths: Vector
    share_at_risk: Vector
    margin_rel: Vector
    power_w: Vector
    temp_c: Vector
    temp_peak_c: Vector
    load_ratio: Vector
    ageing_rel: Vector
    fan_duty: Vector

    @property
    def error_ratio(self) -> Vector:
        """Share of work lost in each channel, (N, C)."""
        return np.asarray(stability.error_ratio_at(self.margin_rel, xp=NUMPY))

    @property
    def hashrate_ths(self) -> Vector:
        """Good hashrate, TH/s, (N,)."""
        lost = np.minimum((self.share_at_risk * self.error_ratio).sum(axis=1), 1.0)
        return np.asarray(self.hashrate_clean_ths * (1.0 - lost))


@dataclass(frozen=True)
class Spread:
    """How much units differ, as standard deviations; all assumed.

    The factory bins of S19j Pro boards, 1.32 to 1.38 V at like clocks, are the guide for silicon: 2.2 % to either side,
    here 1.7 standard deviations of unit and board together.

    Attributes:
        quality_chip, quality_model: needed voltage against the catalog's curve, relative: what all models of a chip
            share, and what all units of a model share besides.
        quality_unit, quality_board: the same from unit to unit and from board to board within one.
        power_chip, power_model: switching power against the catalog, relative, shared in the same way.
        leakage_board: leakage of a board, log.
        leakage_for_quality: log leakage per relative voltage that a board needs less: fast silicon leaks more.
        paste_board: conductance from chip to sink, log.
        cooling_unit: transfer to the air (dust, fan wear), log.
        age_max_years: units are between new and this old, evenly.
        quality_per_year, paste_per_year, cooling_per_year: what age does to need, conductance and cooling, relative.
    """

    quality_chip: float = 0.0057
    quality_model: float = 0.0057
    quality_unit: float = 0.008
    quality_board: float = 0.010
    power_chip: float = 0.014
    power_model: float = 0.014
    leakage_board: float = 0.10
    leakage_for_quality: float = 5.0
    paste_board: float = 0.08
    cooling_unit: float = 0.04
    age_max_years: float = 4.0
    quality_per_year: float = 0.003
    paste_per_year: float = 0.04
    cooling_per_year: float = 0.02

    @property
    def quality_shared(self) -> float:
        """Standard deviation of what units of a model share of their need for voltage."""
        return math.hypot(self.quality_chip, self.quality_model)

    @property
    def power_shared(self) -> float:
        """The same of switching power."""
        return math.hypot(self.power_chip, self.power_model)

    def scaled(self, factor: float) -> Spread:
        """The same with all standard deviations times a factor; what age does stays."""
        if not (np.isfinite(factor) and factor >= 0.0):
            raise ParamsError(explain(f"the spread is scaled by {factor}", allowed="0 or more"))
        names = [n for n in self.__dataclass_fields__ if n.endswith(("_chip", "_model", "_unit", "_board"))]
        return replace(self, **{name: getattr(self, name) * factor for name in names})


@dataclass(frozen=True)
class Unit:
    """One unit's own properties, for C channels.

    Attributes:
        quality_rel: voltage (or clock) needed beyond the catalog's median, relative, (C,).
        power_rel: switching power against the catalog's, factor.
        leakage_rel: leakage, factor, (C,).
        paste_rel: conductance from chip to sink, factor, (C,).
        cooling_rel: transfer to the air, factor.
        age_years: age.
    """

    quality_rel: Vector
    power_rel: float
    leakage_rel: Vector
    paste_rel: Vector
    cooling_rel: float
    age_years: float


def draw_unit(
    channels: int,
    spread: Spread,
    chip_rng: np.random.Generator,
    model_rng: np.random.Generator,
    rng: np.random.Generator,
) -> Unit:
    """Draw a unit.

    Args:
        channels: C.
        spread: how units differ.
        chip_rng, model_rng: draw what the models of a chip, and the units of a model, share.
        rng: draws what is the unit's own.
    """
    quality_chip, power_chip = chip_rng.standard_normal(2)
    quality_model, power_model = model_rng.standard_normal(2)
    quality = spread.quality_chip * quality_chip + spread.quality_model * quality_model
    age_years = rng.uniform(0.0, spread.age_max_years)
    unit, cooling = rng.standard_normal(2)
    board, leakage, paste = rng.standard_normal((3, channels))
    own = spread.quality_unit * unit + spread.quality_board * board
    return Unit(
        quality_rel=quality + own + spread.quality_per_year * age_years,
        power_rel=float(np.exp(spread.power_chip * power_chip + spread.power_model * power_model)),
        leakage_rel=np.exp(spread.leakage_board * leakage - spread.leakage_for_quality * own),
        paste_rel=np.exp(spread.paste_board * paste) * (1.0 - spread.paste_per_year * age_years),
        cooling_rel=float(np.exp(spread.cooling_unit * cooling) * (1.0 - spread.cooling_per_year * age_years)),
        age_years=float(age_years),
    )


def median_unit(channels: int, spread: Spread) -> Unit:
    """The catalog's unit at half of the greatest age: what is expected of a unit nobody has measured."""
    age_years = 0.5 * spread.age_max_years
    one = np.ones(channels)
    return Unit(
        quality_rel=one * spread.quality_per_year * age_years,
        power_rel=1.0,
        leakage_rel=one,
        paste_rel=one * (1.0 - spread.paste_per_year * age_years),
        cooling_rel=1.0 - spread.cooling_per_year * age_years,
        age_years=age_years,
    )


class Device(Protocol):
    """A kind of device that can be tuned."""

    @property
    def model(self) -> str:
        """Full name."""
        ...

    @property
    def chip(self) -> str:
        """What it computes with: models of one chip share a part of their deviation from the catalog."""
        ...

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What can be set, in the order of a setting's numbers."""
        ...

    @property
    def channels(self) -> tuple[str, ...]:
        """Where errors are counted separately."""
        ...

    @property
    def channel_knobs(self) -> tuple[tuple[int, ...], ...]:
        """Which knobs each channel depends on."""
        ...

    @property
    def sensors(self) -> tuple[str, ...]:
        """What reads temperatures."""
        ...

    @property
    def fan_knob(self) -> int | None:
        """The knob that acts through the speed of the fans only; None where there is none."""
        ...

    @property
    def need_bend(self) -> float:
        """How far a unit's deviation from the catalog's need differs from setting to setting, relative."""
        ...

    @property
    def stock(self) -> Vector:
        """The maker's setting, (D,)."""
        ...

    @property
    def presets(self) -> Vector:
        """The firmware's or catalog's ready settings in rising power, (P, D)."""
        ...

    @property
    def deratings(self) -> Vector:
        """Stock and what is milder, from the mildest to stock, (P, D)."""
        ...

    @property
    def hashprice_usd_per_ths_day(self) -> float:
        """What a TH/s earns in a day where nothing else is said, USD."""
        ...

    @property
    def ageing_usd_per_day(self) -> float:
        """Expected repair cost a day at the reference rate of ageing, USD."""
        ...

    @property
    def trip_c(self) -> float:
        """Reading at which the device stops, degC."""
        ...

    def slope_excess(self, settings: Vector) -> Vector:
        """How far settings (N, D) go beyond the allowed relation of voltage and clock, relative, (N,); 0 is allowed."""
        ...

    def settle(self, settings: Vector, unit: Unit, temp_amb_c: float) -> Settled:
        """What settings (N, D) come to on a unit in air of ``temp_amb_c``."""
        ...


def rows(settings: Vector | Sequence[float], size: int) -> Vector:
    """Settings as (N, D); one setting becomes a row.

    Raises:
        ParamsError: a wrong number of values, or one that is not finite.
    """
    array = np.atleast_2d(np.asarray(settings, dtype=np.float64))
    if array.ndim != 2 or array.shape[1] != size:
        raise ParamsError(explain(f"a setting has shape {array.shape}", allowed=f"(N, {size})"))
    if not np.isfinite(array).all():
        raise ParamsError(explain("a setting holds a value that is not a number", allowed="finite numbers"))
    return array
