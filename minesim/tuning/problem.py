"""The tuning problem: settings of one unit in, noisy measurements out, each at a price in time and money."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np

from minesim.arrays import NUMPY
from minesim.errors import ParamsError, explain, nearest
from minesim.physics import stability
from minesim.physics.firmware import FirmwareParams
from minesim.site_spec import STOP_USD
from minesim.tuning.device import Device, Settled, Spread, Unit, Vector, draw_unit, median_unit, rows
from minesim.tuning.objective import Objective, TuningLimits

HASHRATE_NOISE, POWER_NOISE = 0.004, 0.005
"""Relative standard deviation of a ten-minute mean: ten of the twin's readings (+-2 %), a metered wall (assumed)."""
ERROR_NOISE_ABS, ERROR_NOISE_REL = 0.0005, 0.05
"""Standard deviation of a counted share of errors (assumed)."""
POOR_SIGMAS: Final = 4.0
"""A known-good setting bears boards this many standard deviations poor: all but one in 30,000. At three, one unit of 80
would begin its tuning beyond a limit."""
SEED_RANGE = 2**32


@dataclass(frozen=True)
class TrialCost:
    """What a trial takes.

    Attributes:
        change_s: without hashing while the setting changes.
        settle_s: until temperatures and hashrate can be trusted (5 to 10 min; HashCore).
        measure_s: over which is averaged.
        trip_s: further minutes without hashing after a trip: cooling down (10 to 20 min; Goldshell), start and ramp.
        trip_usd: expected wear of a trip beside lost work: a full stop, and a restart that may fail (assumed).
    """

    change_s: float = FirmwareParams().preset_change_s
    settle_s: float = 600.0
    measure_s: float = 600.0
    trip_s: float = 900.0 + FirmwareParams().start_delay_s + FirmwareParams().ramp_s
    trip_usd: float = STOP_USD + 0.50

    def __post_init__(self) -> None:
        if self.settle_s + self.measure_s < 600.0:
            raise ParamsError(
                explain(
                    f"a trial takes {self.settle_s + self.measure_s:.0f} s",
                    allowed="600 s or more of settling and measuring",
                    fix="Hashrates mean nothing 5 to 10 min after a change.",
                )
            )


@dataclass(frozen=True)
class Measurement:
    """What a trial tells.

    Attributes:
        hashrate_ths: mean good hashrate, TH/s; NaN after a trip.
        power_w: mean wall power, W; NaN after a trip.
        temp_c: readings, whole degC, K numbers; the hottest of the way after a trip.
        error_ratio: share of work lost in each channel, C numbers.
        wear_usd_per_day: expected repair cost at these readings and volts, USD a day.
        tripped: whether the device stopped itself.
        hours: time taken.
        cost_usd: money lost against running at stock all that time; a gain is negative.
    """

    hashrate_ths: float
    power_w: float
    temp_c: tuple[float, ...]
    error_ratio: tuple[float, ...]
    wear_usd_per_day: float
    tripped: bool
    hours: float
    cost_usd: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        plain = asdict(self)
        for name in ("hashrate_ths", "power_w"):
            plain[name] = None if math.isnan(plain[name]) else plain[name]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Measurement:
        """The measurement that :meth:`to_json` wrote."""
        values = dict(plain)
        for name in ("hashrate_ths", "power_w"):
            values[name] = math.nan if values[name] is None else float(values[name])
        return cls(**{**values, "temp_c": tuple(values["temp_c"]), "error_ratio": tuple(values["error_ratio"])})


@dataclass(frozen=True)
class TuningProblem:
    """One unit of a device to be tuned.

    Attributes:
        device: what kind it is.
        seed: which unit (silicon, leakage, paste, age), and the noise of its trials.
        temp_amb_c: air at the intake, degC.
        objective: what to make large.
        limits: what no setting may do.
        spread: how much units differ.
        cost: what a trial takes.
    """

    device: Device
    seed: int
    temp_amb_c: float
    objective: Objective
    limits: TuningLimits = field(default_factory=TuningLimits)
    spread: Spread = field(default_factory=Spread)
    cost: TrialCost = field(default_factory=TrialCost)

    def __post_init__(self) -> None:
        if not -40.0 <= self.temp_amb_c <= 55.0:
            raise ParamsError(explain(f"temp_amb_c is {self.temp_amb_c} C", allowed="-40 to 55 C"))
        if not 0 <= self.seed < SEED_RANGE:
            raise ParamsError(explain(f"seed is {self.seed}", allowed="0 to 2^32 - 1"))

    @functools.cached_property
    def unit(self) -> Unit:
        """The unit's own properties; an optimiser does not look at them."""
        chip = np.random.default_rng([zlib.crc32(self.device.chip.encode())])
        model = np.random.default_rng([zlib.crc32(self.device.model.encode())])
        own = np.random.default_rng([zlib.crc32(self.device.model.encode()), self.seed])
        return draw_unit(len(self.device.channels), self.spread, chip, model, own)

    @property
    def serial(self) -> str:
        """Name of the unit."""
        return f"{self.device.model} #{self.seed}"

    @property
    def lower(self) -> Vector:
        """Lower bounds, (D,)."""
        return np.array([knob.low for knob in self.device.knobs])

    @property
    def upper(self) -> Vector:
        """Highest settable values, (D,)."""
        return np.array([knob.low + (knob.count - 1) * knob.step for knob in self.device.knobs])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the knobs, with units."""
        return tuple(knob.name for knob in self.device.knobs)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What a saved state must agree with: device, unit, bounds, objective, limits, costs (not the ambient)."""
        parts = {
            "model": self.device.model,
            "seed": self.seed,
            "knobs": [asdict(knob) for knob in self.device.knobs],
            "objective": asdict(self.objective),
            "limits": asdict(self.limits),
            "spread": asdict(self.spread),
            "cost": asdict(self.cost),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def at(self, temp_amb_c: float) -> TuningProblem:
        """The same unit in other air."""
        return replace(self, temp_amb_c=temp_amb_c)

    def snap(self, settings: Vector | Sequence[float]) -> Vector:
        """The nearest settings that the firmware accepts, (N, D).

        Raises:
            ParamsError: misshaped, not a number.
        """
        array = rows(settings, len(self.device.knobs))
        return np.column_stack([knob.snap(array[:, i]) for i, knob in enumerate(self.device.knobs)])

    def nearest_allowed(self, setting: Vector | Sequence[float]) -> Vector:
        """The setting on the grid with its first knob, the rail, raised as far as the slope limit asks, (D,)."""
        x: Vector = self.snap(setting)[0]
        rail = self.device.knobs[0]
        while not self.allowed(x)[0] and x[0] + rail.step <= self.upper[0] + 1e-9:
            x[0] += rail.step
        return x

    def stock(self) -> Vector:
        """The maker's setting on the grid, (D,)."""
        return np.asarray(self.snap(self.device.stock)[0])

    def presets(self) -> Vector:
        """Ready settings on the grid, rising in power, (P, D)."""
        return self.snap(self.device.presets)

    def known_good(self) -> Vector:
        """A setting that is taken to be safe on every unit, (D,): the least derated one that a poor unit bears.

        Poor is :data:`POOR_SIGMAS` standard deviations of need beyond the median and two in heat; the mildest derating
        where none qualifies.
        """
        deratings = self.snap(self.device.deratings)
        fits = self._within(deratings, self._settle(deratings, self._poor_unit))
        return np.asarray(deratings[np.flatnonzero(fits)[-1] if fits.any() else 0])

    @property
    def margin_sd(self) -> float:
        """Standard deviation of a channel's margin around the catalog's, 1."""
        s = self.spread
        age = s.quality_per_year * s.age_max_years / math.sqrt(12.0)
        return math.hypot(s.quality_shared, s.quality_unit, s.quality_board, age)

    @property
    def _poor_unit(self) -> Unit:
        median = median_unit(len(self.device.channels), self.spread)
        return replace(
            median,
            quality_rel=median.quality_rel + POOR_SIGMAS * self.margin_sd,
            power_rel=1.0 + 2.0 * self.spread.power_shared,
            leakage_rel=median.leakage_rel * math.exp(2.0 * self.spread.leakage_board),
            cooling_rel=median.cooling_rel * math.exp(-2.0 * self.spread.cooling_unit),
        )

    def _settle(self, settings: Vector | Sequence[float], unit: Unit) -> Settled:
        return self.device.settle(rows(settings, len(self.device.knobs)), unit, self.temp_amb_c)

    def nominal(self, settings: Vector | Sequence[float]) -> Settled:
        """What the catalog expects of a unit nobody has measured; free, for warm starts."""
        return self._settle(settings, median_unit(len(self.device.channels), self.spread))

    def truth(self, settings: Vector | Sequence[float]) -> Settled:
        """What the unit really does, without noise; for scoring only."""
        return self._settle(settings, self.unit)

    def wear_usd_per_day(self, settled: Settled) -> Vector:
        """Expected repair cost, USD a day, (N,)."""
        return self.device.ageing_usd_per_day * settled.ageing_rel

    def score(self, settled: Settled) -> Vector:
        """The objective, (N,)."""
        wear = self.wear_usd_per_day(settled)
        return np.asarray(self.objective.score(settled.hashrate_ths, settled.power_w, wear))

    @property
    def power_max_w(self) -> float:
        """The tighter of cap and limit, W; infinite where there is neither."""
        return min(self.objective.power_cap_w or math.inf, self.limits.power_max_w or math.inf)

    def measured_score(self, measured: Measurement) -> float:
        """The objective as it was measured; minus infinity where a limit was broken."""
        hot = max(measured.temp_c) > self.limits.temp_max_c
        wrong = max(measured.error_ratio) > self.limits.error_max
        if measured.tripped or hot or wrong or measured.power_w > self.power_max_w:
            return -math.inf
        return float(self.objective.score(measured.hashrate_ths, measured.power_w, measured.wear_usd_per_day))

    def allowed(self, settings: Vector | Sequence[float]) -> np.ndarray:
        """Whether settings keep the limits that need no measurement, (N,)."""
        excess = self.device.slope_excess(rows(settings, len(self.device.knobs)))
        return np.asarray(excess <= 1e-9)

    def safe(self, settings: Vector | Sequence[float]) -> np.ndarray:
        """Whether settings keep every limit on the real unit, without noise, (N,); for scoring only."""
        settings = rows(settings, len(self.device.knobs))
        return self._within(settings, self.truth(settings))

    def _within(self, settings: Vector, settled: Settled) -> np.ndarray:
        ok = (settled.error_ratio.max(axis=1) <= self.limits.error_max) & (settled.power_w <= self.power_max_w)
        # The limit is one of readings, which are whole degrees.
        cool = (np.rint(settled.temp_c.max(axis=1)) <= self.limits.temp_max_c) & (
            settled.temp_peak_c < self.device.trip_c
        )
        return np.asarray(ok & cool & (settled.load_ratio < 1.0) & self.allowed(settings))

    def check(self, setting: Vector | Sequence[float]) -> Vector:
        """The setting on the grid, refused where the firmware or the slope limit would.

        Raises:
            ParamsError: misshaped, not a number, outside the bounds or the voltage-frequency relation.
        """
        row = rows(setting, len(self.device.knobs))
        if len(row) != 1:
            raise ParamsError(explain(f"{len(row)} settings at once", allowed="one setting a trial"))
        for value, knob in zip(row[0], self.device.knobs, strict=True):
            if not knob.low - 0.5 * knob.step <= value <= knob.high + 0.5 * knob.step:
                raise ParamsError(
                    explain(
                        f"{knob.name} is {value:g}",
                        allowed=f"{knob.low:g} to {knob.high:g}",
                        origin=self.device.model,
                    )
                )
        snapped = self.snap(row)
        if not self.allowed(snapped)[0]:
            raise ParamsError(
                explain(
                    f"the rail of {snapped[0, 0]:.2f} is too low for its clocks on {self.device.model!r}",
                    origin="voltage-frequency slope limit",
                    fix="Raise the rail or lower the fastest clock.",
                )
            )
        return np.asarray(snapped[0])

    def evaluate(self, setting: Vector | Sequence[float], trial: int) -> Measurement:
        """Carry a trial out: change, settle, measure; a pure function of setting and trial number.

        Args:
            setting: (D,), moved to the grid.
            trial: number of the trial, which draws the noise.

        Raises:
            ParamsError: see :meth:`check`.
        """
        x = self.check(setting)
        true = self.truth(x)
        key = [zlib.crc32(self.serial.encode()), round(10.0 * (self.temp_amb_c + 100.0)), trial]
        rng = np.random.default_rng(key)
        noise, lots = rng.standard_normal(2 + true.error_ratio.shape[1]), rng.uniform(size=true.error_ratio.shape[1])
        errors = true.error_ratio[0]
        seen = errors + noise[2:] * np.hypot(ERROR_NOISE_ABS, ERROR_NOISE_REL * errors)
        lost_board = bool((lots < stability.lost_board_probability(errors, xp=NUMPY)).any())
        tripped = lost_board or bool(true.temp_peak_c[0] >= self.device.trip_c) or bool(true.load_ratio[0] >= 1.0)
        hashrate = float(true.hashrate_ths[0] * (1.0 + HASHRATE_NOISE * noise[0]))
        power = float(true.power_w[0] * (1.0 + POWER_NOISE * noise[1]))
        temps = true.temp_c[0] if not tripped else np.maximum(true.temp_c[0], true.temp_peak_c[0])
        hours, cost_usd = self._price(true, tripped)
        return Measurement(
            hashrate_ths=math.nan if tripped else hashrate,
            power_w=math.nan if tripped else power,
            temp_c=tuple(float(t) for t in np.rint(temps)),
            error_ratio=tuple(float(e) for e in np.clip(seen, 0.0, 1.0)),
            wear_usd_per_day=float(self.wear_usd_per_day(true)[0]),
            tripped=tripped,
            hours=hours,
            cost_usd=cost_usd,
        )

    @functools.cached_property
    def stock_usd_per_day(self) -> float:
        """What the unit really earns at stock, USD a day."""
        return float(self._usd_per_day(self.truth(self.stock()))[0])

    @functools.cached_property
    def stock_revenue_usd_per_day(self) -> float:
        """Nominal revenue at stock, USD a day: the measure of regret."""
        return float(self.objective.hashprice_usd_per_ths_day * self.nominal(self.stock()).hashrate_ths[0])

    def _usd_per_day(self, settled: Settled) -> Vector:
        wear = self.wear_usd_per_day(settled)
        return np.asarray(self.objective.profit_usd_per_day(settled.hashrate_ths, settled.power_w, wear))

    def _price(self, true: Settled, tripped: bool) -> tuple[float, float]:
        """Hours and USD of a trial, against running at stock all the time."""
        c = self.cost
        hashing_s = c.settle_s if tripped else c.settle_s + c.measure_s
        total_s = c.change_s + hashing_s + (c.trip_s if tripped else 0.0)
        earned = float(self._usd_per_day(true)[0]) * hashing_s / 86400.0
        lost = self.stock_usd_per_day * total_s / 86400.0 - earned + (c.trip_usd if tripped else 0.0)
        return total_s / 3600.0, lost


POWER_PRICE_USD_PER_MWH: Final = 60.0
"""Where nothing else is said; assumed."""


def tuning_problem(
    model: str,
    seed: int = 0,
    temp_amb_c: float = 25.0,
    *,
    objective: str = "profit",
    power_price_usd_per_mwh: float = POWER_PRICE_USD_PER_MWH,
    hashprice_usd_per_ths_day: float | None = None,
    power_cap_w: float | None = None,
    limits: TuningLimits | None = None,
    spread: float = 1.0,
    fan_mode: str = "target",
) -> TuningProblem:
    """Build the tuning problem of one unit.

    Args:
        model: an air-cooled model of the catalog, or ``gpu/ALGORITHM`` (see :mod:`minesim.tuning.gpu`).
        seed: which unit.
        temp_amb_c: intake air, degC.
        objective: ``profit``, ``efficiency`` or ``hashrate``.
        power_price_usd_per_mwh, hashprice_usd_per_ths_day: what energy costs and a TH/s earns.
        power_cap_w: most wall power, W.
        limits: what no setting may do.
        spread: factor on the assumed spread of units.
        fan_mode: ``target`` or ``duty``, miners only.

    Raises:
        CatalogError: unknown model.
        ParamsError: a value that is not possible.
    """
    from minesim.tuning.gpu import ALGORITHMS, GpuCard
    from minesim.tuning.miner import Miner

    device: Device
    if model.startswith("gpu/"):
        algorithm = model.removeprefix("gpu/")
        if algorithm not in ALGORITHMS:
            raise ParamsError(explain(f"no GPU algorithm {algorithm!r}", fix=nearest(algorithm, ALGORITHMS)))
        device = GpuCard(algorithm)
    else:
        device = Miner(model, fan_mode)
    hashprice = device.hashprice_usd_per_ths_day if hashprice_usd_per_ths_day is None else hashprice_usd_per_ths_day
    return TuningProblem(
        device=device,
        seed=seed,
        temp_amb_c=temp_amb_c,
        objective=Objective(objective, power_price_usd_per_mwh, hashprice, power_cap_w),
        limits=limits or TuningLimits(),
        spread=Spread().scaled(spread),
    )
