"""Fit the electrical models to the published tables and nameplates.

``python -m minesim.catalog.fitting`` rewrites ``electrical.csv`` and ``provenance.csv``. docs/catalog.md tells the
method; scipy is needed here only.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minesim.arrays import NUMPY
from minesim.catalog.electrical import Electrical, Provenance
from minesim.catalog.models import UNKNOWN_CHIP, AsicModel, Preset, load_presets, model, presets, read_rows
from minesim.errors import CatalogError, MissingExtraError, explain
from minesim.physics import asic, psu

Vector = np.ndarray[Any, np.dtype[np.float64]]

TEMP_REF_C = 65.0
"""Chip temperature that tables and nameplates are taken to refer to; assumed: firmware targets board 55 C, chip 65."""
FAN_DUTY_REF = 0.7
FAN_POWER_MAX_W = 19.8
POWER_CTRL_W = 15.0
VOLT_GUARD_REL = 0.03
"""Margin of a tuned rail over the onset of hardware errors; assumed."""
CHIP_OVER_BOARD_K = 15.0
"""Firmwares estimate chip = board + 15 C."""
EFFICIENCY_COLD_J_PER_TH, TEMP_COLD_C = 24.0, 20.0 + CHIP_OVER_BOARD_K
EFFICIENCY_HOT_J_PER_TH, TEMP_HOT_C = 34.0, 75.0 + CHIP_OVER_BOARD_K
"""S19j Pro at constant hashrate (Braiins figure), read as board temperatures: a test of the same model with a wall
meter states board temperature from under 20 to 75 C (ydminer.com), and so read the slope at stock is the T21's."""
SWING_POWER, SWING_TEMP_K = 0.073, 11.0
"""T21 over one day at fixed settings (guzmanpintos.com), read as a swing of chip temperature."""
BETA_OLD_PER_K = 0.025
"""X17 and older: assumed; they respond far less to temperature than X19 (ydminer.com)."""
GENERATIONS_OLD = ("X7", "X9", "X15", "X17", "L3")
NAMEPLATE = "nameplate"
"""Table name of a curve that rests on a nameplate."""
FAN_MODEL = "Antminer S19 Pro"
BEST_X19, SWING_MODEL = "Antminer S19j Pro (104T)", "Antminer T21"
NORM, RESIDUAL_SCALE = 8, 0.01
"""Power of the residuals that fits minimise (even): least squares would let one point of the S19 table miss by 3.4 %,
minimax would swing the ends; residuals are taken in units of the second."""
ERROR_SIMPLE = 0.015
"""A straight effective rail with no worse error in power is preferred to one with a change of slope."""
POINTS_FOR_BREAK, POINTS_PER_PIECE = 6, 3
"""Fewer points than the first get a straight rail; each piece of a broken one has at least the second."""
POINTS_FOR_LEAKAGE = 10
"""Fewer published rails than this do not tell leakage from switching; its share is then borrowed."""
POINTS_FOR_ERRORS = 5
"""Fewer points than this cannot be left out in turn."""
EXTEND_BELOW = 0.75
"""An effective rail keeps its first slope down to this share of the table's lowest frequency, and is level below."""

UNCERTAINTY_TABLE, UNCERTAINTY_NAMEPLATE, UNCERTAINTY_OTHER_MAKER = 0.05, 0.10, 0.15
"""Relative standard uncertainty against a wall meter; assumed. Nameplates allow 5 % in power, and firmware watts are
estimates. To a table's, the worst fit error, half the gap to the nameplate and half the median gap to the model's other
published points are added in squares; to a nameplate's, the uncertainty of the model that it borrows from."""
UNCERTAINTY_FEW_POINTS = 0.08
"""Added in squares for a table with fewer than ``POINTS_FOR_LEAKAGE`` points, and for a range that is borrowed."""


@dataclass(frozen=True)
class Table:
    """One published table of a hardware model, in rising power.

    Attributes:
        hardware: catalog name.
        name: firmware that the table belongs to.
        points: the operating points.
        published_volts: the rail is published, and the model takes it as it is.
        default: the model's default curve is fitted to it.
    """

    hardware: str
    name: str
    points: tuple[Preset, ...]
    published_volts: bool
    default: bool

    @property
    def power_w(self) -> Vector:
        """Wall power, W."""
        return np.array([p.power_w for p in self.points])

    @property
    def hashrate_ths(self) -> Vector:
        """Hashrate, TH/s."""
        return np.array([p.hashrate_ths for p in self.points])

    @property
    def volt_v(self) -> Vector:
        """Published rail, V (NaN where not published)."""
        return np.array([math.nan if p.volt_v is None else p.volt_v for p in self.points])

    def without(self, indices: Sequence[int]) -> Table:
        """The table without some of its points."""
        kept = tuple(p for i, p in enumerate(self.points) if i not in indices)
        return dataclasses.replace(self, points=kept)


@functools.cache
def load_tables() -> tuple[Table, ...]:
    """All tables that models are fitted to; other published points only serve as checks."""
    return tuple(_table_of(row) for row in read_rows("tables.csv") if row["use"] != "check")


def _table_of(row: Mapping[str, str]) -> Table:
    firmwares = row["firmwares"].split(";")
    points = [
        p
        for p in load_presets()
        if p.model == row["preset_model"]
        and p.firmware in firmwares
        and row["only"] in p.name
        and not (row["without"] and row["without"] in p.name)
    ]
    return Table(
        hardware=row["model"],
        name=row["table"],
        points=tuple(sorted(points, key=lambda p: p.power_w)),
        published_volts=row["volts"] == "published",
        default=row["use"] == "default",
    )


def _row(file_name: str, key: str, value: str) -> Mapping[str, str]:
    for row in read_rows(file_name):
        if row[key] == value:
            return row
    raise CatalogError(explain(f"no row {value!r}", origin=f"minesim/catalog/{file_name}"))


@dataclass(frozen=True)
class _Frame:
    """What is known of a model before its curve is fitted."""

    unit: AsicModel
    chip: Mapping[str, str]
    supply: Mapping[str, str]
    hardware: Mapping[str, str]
    boards: int
    chips_per_board: int
    fan_count: int
    beta_per_k: float
    leak_share: float
    rated_dc_w: float

    @property
    def fixed_w(self) -> float:
        return POWER_CTRL_W + self.fan_count * FAN_POWER_MAX_W * FAN_DUTY_REF**3

    @property
    def volt_stock_v(self) -> float:
        return float(self.supply["volt_stock_v"])

    @property
    def eta_rated(self) -> float:
        return float(self.supply["eta_rated"])

    def power_dc_w(self, power_w: Vector) -> Vector:
        """DC power of the chips behind a wall power (inverse of the supply's quadratic), W."""
        loss = self.rated_dc_w * (1 / self.eta_rated - 1)
        total = psu.STANDBY_SHARE + psu.LINEAR_SHARE + psu.QUADRATIC_SHARE
        square = loss * psu.QUADRATIC_SHARE / total / self.rated_dc_w**2
        linear = 1 + loss * psu.LINEAR_SHARE / total / self.rated_dc_w
        constant = loss * psu.STANDBY_SHARE / total - (power_w - self.fixed_w)
        return np.asarray((-linear + np.sqrt(linear**2 - 4 * square * constant)) / (2 * square))


@dataclass(frozen=True)
class LeakConstants:
    """Leakage constants shared by chip generations.

    Attributes:
        beta_per_k: growth with chip temperature, X19 and later, 1/K.
        share_x19, share_x21: leakage share of the chips' DC power at stock and reference temperature.
    """

    beta_per_k: float
    share_x19: float
    share_x21: float


@functools.cache
def leak_constants() -> LeakConstants:
    """Fit the growth of leakage with temperature, and its share in the X19 and X21 generations.

    The S19j Pro's share comes from its table; the growth follows from 24 -> 34 J/TH between 20 and 75 C on the board at
    constant hashrate. The X21 share is the one with which a T21 swings by 7.3 % over 11 K around the reference
    temperature.
    """
    optimize = _scipy_optimize()
    table = next(t for t in load_tables() if t.hardware == BEST_X19)
    trial = _fit_table(table, _frame(BEST_X19, LeakConstants(0.05, 0.0, 0.0)))
    leak_w = trial.g_w_per_v2 * float(trial.rail_volt_v(trial.freq_stock_mhz)) ** 2
    switching_w = trial.c_w_per_mhz_v2 * trial.freq_stock_mhz * float(trial.rail_volt_v(trial.freq_stock_mhz)) ** 2
    share_x19 = leak_w / (leak_w + switching_w)

    def excess(beta_per_k: float) -> float:
        ratio = _power_ratio(dataclasses.replace(trial, beta_per_k=beta_per_k), TEMP_HOT_C, TEMP_COLD_C)
        return ratio - EFFICIENCY_HOT_J_PER_TH / EFFICIENCY_COLD_J_PER_TH

    beta = float(optimize.brentq(excess, 0.005, 0.2))

    def swing(share_x21: float) -> float:
        unit = _fit(SWING_MODEL, None, LeakConstants(beta, share_x19, share_x21))
        ratio = _power_ratio(unit, TEMP_REF_C + 0.5 * SWING_TEMP_K, TEMP_REF_C - 0.5 * SWING_TEMP_K)
        return 2 * (ratio - 1) / (ratio + 1) - SWING_POWER

    return LeakConstants(beta, share_x19, float(optimize.brentq(swing, 0.01, 0.4)))


def _power_ratio(unit: Electrical, temp_hot_c: float, temp_cold_c: float) -> float:
    hot_w, cold_w = (unit.power_w(unit.freq_stock_mhz, temp_chip_c=np.float64(t)) for t in (temp_hot_c, temp_cold_c))
    return float(hot_w / cold_w)


def _scipy_optimize() -> Any:
    try:
        from scipy import optimize
    except ImportError as error:
        raise MissingExtraError(
            explain("scipy is not installed", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    return optimize


def _frame(name: str, leak: LeakConstants) -> _Frame:
    unit = model(name)
    hardware = _row("hardware.csv", "model", name)
    chip = _row("chips.csv", "chip", hardware["chip"])
    supply = _row("psus.csv", "psu", hardware["psu"])
    old = chip["generation"] in GENERATIONS_OLD
    shares = {"x19": leak.share_x19, "x21": leak.share_x21}
    return _Frame(
        unit=unit,
        chip=chip,
        supply=supply,
        hardware=hardware,
        boards=unit.boards or int(hardware["boards"]),
        chips_per_board=unit.chips_per_board or int(hardware["chips_per_board"]),
        fan_count=unit.fans if unit.fans is not None else int(hardware["fan_count"]),
        beta_per_k=BETA_OLD_PER_K if old else leak.beta_per_k,
        leak_share=shares[chip["leak_share"]] if chip["leak_share"] in shares else float(chip["leak_share"]),
        rated_dc_w=float(supply["rated_w"]),
    )


def _frequencies(table: Table, frame: _Frame) -> tuple[float, Vector]:
    """(TH/s per MHz of the miner, frequency of every point): published, or from the chip's hashrate per MHz."""
    if all(p.freq_mhz is not None for p in table.points):
        freq = np.array([p.freq_mhz for p in table.points], dtype=np.float64)
        ratio = table.hashrate_ths / freq
        # The middle of the extremes (in the harmonic sense) has the smallest worst relative error.
        slope = 2 * ratio.max() * ratio.min() / (ratio.max() + ratio.min())
        return float(slope), freq
    slope = float(frame.chip["ghs_per_mhz_chip"]) * 1e-3 * frame.boards * frame.chips_per_board
    return slope, table.hashrate_ths / slope


def _least_power(matrix: Vector) -> tuple[Vector, float]:
    """Coefficients x with the smallest sum of |matrix x - 1|^p, and the root of that sum.

    p between least squares (kind to the ends, one point may be far off) and minimax (the reverse).
    """

    def residual(x: Vector) -> Vector:
        return np.asarray((matrix @ x - 1) / RESIDUAL_SCALE)

    def cost(x: Vector) -> float:
        return float(np.sum(residual(x) ** NORM))

    def gradient(x: Vector) -> Vector:
        return np.asarray(NORM / RESIDUAL_SCALE * matrix.T @ residual(x) ** (NORM - 1))

    def hessian(x: Vector) -> Vector:
        weights = residual(x) ** (NORM - 2)
        return np.asarray(NORM * (NORM - 1) / RESIDUAL_SCALE**2 * (matrix.T * weights) @ matrix)

    size = np.abs(matrix).max(axis=0)
    start, *_ = np.linalg.lstsq(matrix / size, np.ones(len(matrix)), rcond=None)
    result = _scipy_optimize().minimize(
        lambda z: cost(z / size),
        start,
        jac=lambda z: gradient(z / size) / size,
        hess=lambda z: hessian(z / size) / np.outer(size, size),
        method="trust-exact",
        options={"gtol": 1e-9, "maxiter": 500},
    )
    x = np.asarray(result.x / size)
    return x, RESIDUAL_SCALE * cost(x) ** (1 / NORM)


@dataclass(frozen=True)
class _Rail:
    floor_v: float
    knee_mhz: float
    slope: float
    knee2_mhz: float
    slope2: float
    error: float


def _published_rail(freq_mhz: Vector, volt_v: Vector, volt_min_v: float) -> _Rail:
    """The published rule: a floor where several points share the lowest rail, and a straight line above it.

    Points without a common floor are one straight line down to what the supply can give.
    """
    floor_v, end = float(volt_v.min()), float(freq_mhz.max())
    rising = volt_v > floor_v
    if len(freq_mhz) - rising.sum() < 2:
        rising, floor_v = np.ones_like(rising), volt_min_v
    slope, offset = np.polyfit(freq_mhz[rising], volt_v[rising], 1)
    knee = (floor_v - offset) / slope
    return _Rail(floor_v, float(knee), float(slope), end, float(slope), 0.0)


def _effective_rail(freq_mhz: Vector, volt_v: Vector) -> _Rail:
    """The rising rail with the smallest worst relative error: straight if that fits, else with one change of slope.

    Below the lowest point the first slope goes on to ``EXTEND_BELOW`` of its frequency and is level from there.
    """
    start, end = float(freq_mhz.min()), float(freq_mhz.max())
    straight = _rail_through(freq_mhz, volt_v, start, end, 2)
    if 2 * straight.error <= ERROR_SIMPLE or len(freq_mhz) < POINTS_FOR_BREAK:
        return straight
    inner = np.sort(freq_mhz)[POINTS_PER_PIECE - 1 : -POINTS_PER_PIECE + 1]
    trials = [_rail_through(freq_mhz, volt_v, start, float(knee2), 3) for knee2 in np.unique(inner)]
    rising = [rail for rail in trials if min(rail.slope, rail.slope2) >= 0]
    return min([straight, *rising], key=lambda rail: rail.error)


def _rail_through(freq_mhz: Vector, volt_v: Vector, start: float, knee2: float, columns: int) -> _Rail:
    pieces = [np.ones_like(freq_mhz), np.minimum(freq_mhz, knee2) - start, np.maximum(freq_mhz - knee2, 0.0)]
    x, error = _least_power(np.stack(pieces[:columns], axis=1) / volt_v[:, None])
    knee = EXTEND_BELOW * start
    return _Rail(float(x[0] - x[1] * (start - knee)), knee, float(x[1]), knee2, float(x[-1]), error)


def _fit_table(table: Table, frame: _Frame) -> Electrical:
    slope, freq = _frequencies(table, frame)
    dc_w = frame.power_dc_w(table.power_w)
    nameplate_ths = frame.unit.hashrate_ths or float(np.median(table.hashrate_ths))
    stock = float(frame.hardware["freq_stock_mhz"] or nameplate_ths / slope)
    if table.published_volts:
        rail = _published_rail(freq, table.volt_v, float(frame.supply["volt_min_v"]))
        rail_v = _rail_values(rail, freq)
        c, g = _switching_and_leakage(freq, rail_v, dc_w, stock, frame)
    else:
        dc_stock = float(np.interp(stock, freq, dc_w))
        known_volts = all(p.volt_v is not None for p in table.points)
        volt_stock = float(np.interp(stock, freq, table.volt_v)) if known_volts else frame.volt_stock_v
        c = (1 - frame.leak_share) * dc_stock / (stock * volt_stock**2)
        g = frame.leak_share * dc_stock / volt_stock**2
        rail = _effective_rail(freq, np.sqrt(dc_w / (c * freq + g)))
    fitted = _assemble(frame, table.name, slope, c, g, rail, freq, stock)
    error = np.abs(fitted.power_w(freq) / table.power_w - 1).max()
    nameplate = frame.unit.power_w
    gap = 0.0 if nameplate is None else fitted.power_stock_w / nameplate - 1
    few = 0.0 if len(freq) >= POINTS_FOR_LEAKAGE else UNCERTAINTY_FEW_POINTS
    uncertainty = math.hypot(UNCERTAINTY_TABLE, error, 0.5 * gap, few)
    return dataclasses.replace(fitted, error_power_max=float(error), uncertainty_power=uncertainty)


def _switching_and_leakage(
    freq: Vector, rail_v: Vector, dc_w: Vector, stock: float, frame: _Frame
) -> tuple[float, float]:
    """(c, g) for a published rail; with few points only their sum is fitted and the leakage share is borrowed."""
    terms = np.stack([freq * rail_v**2, rail_v**2], axis=1) / dc_w[:, None]
    if len(freq) >= POINTS_FOR_LEAKAGE:
        (c, g), _ = _least_power(terms)
        return float(c), float(g)
    weights = np.array([(1 - frame.leak_share) / stock, frame.leak_share])
    (total,), _ = _least_power((terms @ weights)[:, None])
    return float(total * weights[0]), float(total * weights[1])


def _rail_values(rail: _Rail, freq_mhz: Vector | np.float64) -> Any:
    return asic.rail_volt_v(freq_mhz, rail.floor_v, rail.knee_mhz, rail.slope, rail.knee2_mhz, rail.slope2, xp=NUMPY)


def _assemble(
    frame: _Frame, table: str, slope: float, c: float, g: float, rail: _Rail, freq: Vector, stock: float
) -> Electrical:
    low, high = min(float(freq.min()), stock), max(float(freq.max()), stock)
    fitted = Electrical(
        model=frame.unit.name,
        table=table,
        boards=frame.boards,
        chips_per_board=frame.chips_per_board,
        ths_per_mhz_chip=slope / (frame.boards * frame.chips_per_board),
        c_w_per_mhz_v2=c,
        g_w_per_v2=g,
        beta_per_k=frame.beta_per_k,
        temp_ref_c=TEMP_REF_C,
        power_ctrl_w=POWER_CTRL_W,
        fan_count=frame.fan_count,
        fan_power_max_w=FAN_POWER_MAX_W,
        fan_duty_ref=FAN_DUTY_REF,
        psu_eta_rated=frame.eta_rated,
        psu_rated_dc_w=frame.rated_dc_w,
        volt_floor_v=rail.floor_v,
        freq_knee_mhz=rail.knee_mhz,
        volt_per_mhz=rail.slope,
        freq_knee2_mhz=rail.knee2_mhz,
        volt_per_mhz2=rail.slope2,
        volt_guard_rel=VOLT_GUARD_REL,
        freq_min_mhz=low,
        freq_max_mhz=high,
        volt_min_v=float(_rail_values(rail, np.float64(low))),
        volt_max_v=float(_rail_values(rail, np.float64(high))),
        freq_stock_mhz=stock,
        power_stock_w=0.0,
        hashrate_stock_ths=stock * slope,
        uncertainty_power=0.0,
        error_power_max=0.0,
    )
    return dataclasses.replace(fitted, power_stock_w=float(fitted.power_w(stock)))


def _borrow(frame: _Frame, donor: Electrical, table: str) -> Electrical:
    """The donor's rail curve and range in shares of its stock point, scaled to this model's nameplate."""
    hashrate_ths, power_w = frame.unit.hashrate_ths, frame.unit.power_w
    assert hashrate_ths is not None
    assert power_w is not None
    chips = frame.boards * frame.chips_per_board
    known = frame.chip["ghs_per_mhz_chip"]
    listed = frame.hardware["freq_stock_mhz"]
    stock = float(listed) if listed else hashrate_ths / (float(known) * 1e-3 * chips)
    volt, freq = frame.volt_stock_v / float(donor.rail_volt_v(donor.freq_stock_mhz)), stock / donor.freq_stock_mhz
    rail = _Rail(
        donor.volt_floor_v * volt,
        donor.freq_knee_mhz * freq,
        donor.volt_per_mhz * volt / freq,
        donor.freq_knee2_mhz * freq,
        donor.volt_per_mhz2 * volt / freq,
        0.0,
    )
    frame = dataclasses.replace(frame, rated_dc_w=max(frame.rated_dc_w, 1.05 * power_w))
    (dc_w,) = frame.power_dc_w(np.array([power_w]))
    c = (1 - frame.leak_share) * dc_w / (stock * frame.volt_stock_v**2)
    g = frame.leak_share * dc_w / frame.volt_stock_v**2
    reach = np.array([donor.freq_min_mhz, donor.freq_max_mhz]) * freq
    fitted = _assemble(frame, table, hashrate_ths / stock, float(c), float(g), rail, reach, stock)
    other = frame.chip["chip"] == UNKNOWN_CHIP
    shape = UNCERTAINTY_OTHER_MAKER if other else UNCERTAINTY_NAMEPLATE
    return dataclasses.replace(fitted, uncertainty_power=math.hypot(shape, donor.uncertainty_power))


def _doubt(fitted: Electrical, known: Sequence[Preset]) -> Electrical:
    """The fitted model, less certain where published points that it does not rest on (``known``) disagree."""
    gaps = []
    for point in presets(fitted.model):
        freq_mhz = point.hashrate_ths / (fitted.chips * fitted.ths_per_mhz_chip)
        if point not in known and fitted.freq_min_mhz <= freq_mhz <= fitted.freq_max_mhz:
            gaps.append(abs(float(fitted.power_w(freq_mhz)) / point.power_w - 1))
    if not gaps:
        return fitted
    uncertainty = math.hypot(fitted.uncertainty_power, 0.5 * float(np.median(gaps)))
    return dataclasses.replace(fitted, uncertainty_power=uncertainty)


def _widen(fitted: Electrical, donor: Electrical) -> Electrical:
    """The fitted curve over at least the donor's range, in shares of stock frequency (for a few live points)."""
    scale = fitted.freq_stock_mhz / donor.freq_stock_mhz
    low = min(fitted.freq_min_mhz, donor.freq_min_mhz * scale)
    high = max(fitted.freq_max_mhz, donor.freq_max_mhz * scale)
    return dataclasses.replace(
        fitted,
        freq_min_mhz=low,
        freq_max_mhz=high,
        volt_min_v=float(fitted.rail_volt_v(low)),
        volt_max_v=float(fitted.rail_volt_v(high)),
        uncertainty_power=math.hypot(fitted.uncertainty_power, UNCERTAINTY_FEW_POINTS),
    )


def _departure(fitted: Electrical, table: Table | None) -> str:
    """How far an effective rail is from published volts and from what the supply can give, in words."""
    if table is None or table.published_volts:
        return ""
    text = ""
    if all(p.freq_mhz is not None and p.volt_v is not None for p in table.points):
        freq = np.array([p.freq_mhz for p in table.points], dtype=np.float64)
        text = f"; within {np.abs(fitted.rail_volt_v(freq) - table.volt_v).max():.2f} V of the published rail"
    supply = _row("psus.csv", "psu", _row("hardware.csv", "model", fitted.model)["psu"])
    low_v, high_v = float(supply["volt_min_v"]), float(supply["volt_max_v"])
    if fitted.volt_min_v < low_v or fitted.volt_max_v > high_v:
        text += f"; leaves the supply's {low_v:g} to {high_v:g} V"
    return text


def _provenance(fitted: Electrical, frame: _Frame, table: Table | None, donor: str) -> tuple[Provenance, ...]:
    if table is None:
        anchor = "the nameplate" if fitted.table == NAMEPLATE else "its one published point"
        curve = rail = ("borrowed", f"shape of {donor}, scaled to {anchor}; {frame.hardware['source']}")
        reach = ("borrowed", f"range of {donor}, in shares of its stock frequency")
    else:
        curve = ("fitted", f"{table.name}, {len(table.points)} points")
        rail = ("fitted", f"effective rail inferred from the power of {table.name}{_departure(fitted, table)}")
        reach = ("published", f"range of {table.name}")
        if table.published_volts:
            rail = ("published", f"rail of {table.name}")
        if donor:
            reach = ("borrowed", f"range of {donor}, in shares of its stock frequency")
    fans = ("published", "12 V x 1.65 A (buybtc123.com)") if fitted.model == FAN_MODEL else ("borrowed", FAN_MODEL)
    entries = {
        "chips_per_board": _counts_source(frame),
        "ths_per_mhz_chip": _hashrate_source(frame, table),
        "c_w_per_mhz_v2": curve,
        "g_w_per_v2": _leak_source(frame),
        "beta_per_k": _growth_source(frame),
        "temp_ref_c": (
            "assumed",
            f"{TEMP_REF_C:g} C at the published watts (firmware targets boards of 50 to 55 C, chips 15 K hotter)",
        ),
        "power_ctrl_w": ("assumed", f"{POWER_CTRL_W:g} W"),
        "fan_power_max_w": fans if fitted.fan_count else ("published", "no fans"),
        "fan_duty_ref": ("assumed", f"{FAN_DUTY_REF:g} at the published watts"),
        "psu_eta_rated": _kind_of(frame.supply["eta_source"]),
        "rail_volt_v": rail,
        "volt_guard_rel": (
            "assumed",
            f"{100 * VOLT_GUARD_REL:g} % margin of a tuned rail over the onset of hardware errors",
        ),
        "freq_range": reach,
    }
    return tuple(Provenance(parameter, *entry) for parameter, entry in entries.items())


def _kind_of(source: str, otherwise: str = "published") -> tuple[str, str]:
    kinds = ("fitted", "borrowed", "assumed")
    return next((kind for kind in kinds if kind in source), otherwise), source


def _counts_source(frame: _Frame) -> tuple[str, str]:
    if frame.unit.chips_per_board is None:
        return "assumed", frame.hardware["source"]
    return "published", frame.unit.source


def _hashrate_source(frame: _Frame, table: Table | None) -> tuple[str, str]:
    if table is not None and all(p.freq_mhz is not None for p in table.points):
        return "fitted", f"{table.name}, {len(table.points)} points"
    if table is None and frame.hardware["freq_stock_mhz"]:
        return "assumed", f"nameplate hashrate at the stock frequency ({frame.hardware['source']})"
    source = frame.chip["hashrate_source"]
    return _kind_of(source, "measured" if "live" in source else "published")


def _leak_source(frame: _Frame) -> tuple[str, str]:
    source, fitted_on = frame.chip["leak_source"], frame.chip["leak_model"]
    if not fitted_on:
        return "assumed", source
    return ("fitted", source) if fitted_on == frame.unit.name else ("borrowed", f"{fitted_on}: {source}")


def _growth_source(frame: _Frame) -> tuple[str, str]:
    if frame.beta_per_k == BETA_OLD_PER_K:
        return "assumed", "X17 and older respond far less to temperature than X19 (ydminer.com)"
    source = "24 -> 34 J/TH from 20 to 75 C board temperature at constant hashrate (Braiins; ydminer.com)"
    if frame.unit.name == BEST_X19:
        return "fitted", source
    return "borrowed", f"{BEST_X19}: {source}"


def fit(name: str, table: str | None = None) -> Electrical:
    """Fit one model afresh, to its default table, another of its tables, or its nameplate.

    Raises:
        CatalogError: no such model or table, or nothing to fit.
        MissingExtraError: scipy is not installed.
    """
    return _fit(model(name).name, table, leak_constants())


def _fit(name: str, table_name: str | None, leak: LeakConstants) -> Electrical:
    frame = _frame(name, leak)
    chosen = _choose(name, table_name)
    donor_name = frame.hardware["donor"]
    if chosen is not None and len(chosen.points) > 1:
        fitted = _doubt(_fit_table(chosen, frame), chosen.points)
        if donor_name:
            fitted = _widen(fitted, _fit(donor_name, None, leak))
        return dataclasses.replace(fitted, provenance=_provenance(fitted, frame, chosen, donor_name))
    known = () if chosen is None else chosen.points
    for point in known:
        nameplate = dataclasses.replace(frame.unit, hashrate_ths=point.hashrate_ths, power_w=point.power_w)
        frame = dataclasses.replace(frame, unit=nameplate)
    if frame.unit.hashrate_ths is None or frame.unit.power_w is None or not donor_name:
        raise CatalogError(explain(f"{name!r} has neither a table nor a nameplate to fit", origin="minesim/catalog"))
    fitted = _borrow(frame, _fit(donor_name, None, leak), NAMEPLATE if chosen is None else chosen.name)
    fitted = _doubt(fitted, known)
    return dataclasses.replace(fitted, provenance=_provenance(fitted, frame, None, donor_name))


def _choose(name: str, table_name: str | None) -> Table | None:
    """The table of that name, or the default one; ``None`` for a model without tables."""
    tables = [t for t in load_tables() if t.hardware == name]
    for table in tables:
        if table.default if table_name is None else table.name == table_name:
            return table
    if table_name in (None, NAMEPLATE):
        return None
    allowed = ", ".join(repr(t.name) for t in tables) or "none"
    raise CatalogError(explain(f"{name!r} has no table {table_name!r}", allowed=allowed, origin="tables.csv"))


@dataclass(frozen=True)
class FitErrors:
    """How well a curve reproduces its table, as relative errors with sign, in rising power.

    Attributes:
        power, hashrate: of the committed method, fitted to all points.
        left_out: power of each point from a fit to all others.
        every_other: power of each point from a fit to the half of the table that it does not belong to.
    """

    power: Vector
    hashrate: Vector
    left_out: Vector
    every_other: Vector


def fit_errors(name: str, table: str | None = None) -> FitErrors:
    """Fit a table whole, without each point in turn, and by halves.

    Raises:
        CatalogError: no such model or table.
        MissingExtraError: scipy is not installed.
    """
    wanted = model(name).name
    frame, chosen = _frame(wanted, leak_constants()), _choose(wanted, table)
    if chosen is None or len(chosen.points) < POINTS_FOR_ERRORS:
        count = 0 if chosen is None else len(chosen.points)
        raise CatalogError(
            explain(
                f"{wanted!r} has {count} points to leave out in turn",
                allowed=f"{POINTS_FOR_ERRORS} or more",
                origin="minesim/catalog/tables.csv",
            )
        )
    _, freq = _frequencies(chosen, frame)

    def errors(left_out: Sequence[int]) -> Vector:
        return np.asarray(_fit_table(chosen.without(left_out), frame).power_w(freq) / chosen.power_w - 1)

    count = len(freq)
    halves = [errors(range(start, count, 2)) for start in (0, 1)]
    fitted = _fit_table(chosen, frame)
    return FitErrors(
        power=errors(()),
        hashrate=np.asarray(fitted.hashrate_ths(freq) / chosen.hashrate_ths - 1),
        left_out=np.array([errors([i])[i] for i in range(count)]),
        every_other=np.array([halves[i % 2][i] for i in range(count)]),
    )


def fittable() -> tuple[tuple[str, str | None], ...]:
    """(model, table) of everything that can be fitted; a model's default first, ``None`` for a nameplate."""
    pairs: list[tuple[str, str | None]] = []
    for row in read_rows("hardware.csv"):
        unit = model(row["model"])
        tables = sorted((t for t in load_tables() if t.hardware == unit.name), key=lambda t: not t.default)
        if tables:
            pairs += [(unit.name, t.name) for t in tables]
        elif unit.hashrate_ths is not None and unit.power_w is not None and row["donor"]:
            pairs.append((unit.name, None))
    return tuple(pairs)


def fit_all() -> tuple[Electrical, ...]:
    """Fit every model that has a table or a nameplate with power.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    return tuple(_fit(name, table, leak_constants()) for name, table in fittable())


def write(fitted: Sequence[Electrical], folder: Path) -> None:
    """Write ``electrical.csv`` and ``provenance.csv``; each file is replaced whole or not at all."""
    columns = [field.name for field in dataclasses.fields(Electrical) if field.name != "provenance"]
    table = [[_text(getattr(unit, column)) for column in columns] for unit in fitted]
    notes = [[u.model, u.table, p.parameter, p.kind, p.note] for u in fitted for p in u.provenance]
    _write_csv(folder / "electrical.csv", columns, table)
    _write_csv(folder / "provenance.csv", ["model", "table", "parameter", "kind", "note"], notes)


def _text(value: object) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    beside = path.with_name(path.name + ".new")
    beside.write_text(buffer.getvalue(), encoding="utf-8")
    os.replace(beside, path)


if __name__ == "__main__":
    write(fit_all(), Path(__file__).parent)
