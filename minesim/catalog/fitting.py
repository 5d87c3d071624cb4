"""Fit the electrical models to the published tables and nameplates.

``python -m minesim.catalog.fitting`` rewrites ``electrical.csv`` and ``provenance.csv``. docs/catalog.md tells the
method; scipy is needed here only.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minesim.arrays import NUMPY
from minesim.catalog.electrical import Electrical, Provenance
from minesim.catalog.models import AsicModel, Preset, load_presets, model, read_rows
from minesim.errors import CatalogError, MissingExtraError, explain
from minesim.physics import asic, psu

Vector = np.ndarray[Any, np.dtype[np.float64]]

TEMP_REF_C = 65.0
"""Chip temperature that tables and nameplates are taken to refer to; assumed: firmware targets board 55 C, chip 65."""
FAN_DUTY_REF = 0.7
FAN_POWER_MAX_W = 19.8
POWER_CTRL_W = 15.0
EFFICIENCY_COLD_J_PER_TH, TEMP_COLD_C = 24.0, 20.0
EFFICIENCY_HOT_J_PER_TH, TEMP_HOT_C = 34.0, 75.0
"""S19j Pro at constant hashrate (Braiins figure)."""
SWING_POWER, SWING_TEMP_K = 0.073, 11.0
"""T21 over one day at fixed settings (guzmanpintos.com), read as a swing of chip temperature."""
BETA_OLD_PER_K = 0.025
"""X17 and older: assumed; they respond far less to temperature than X19 (ydminer.com)."""
KNEE_CANDIDATES = 9
ERROR_SIMPLE = 0.015
"""A one-knee rail that reaches this worst error is preferred to a two-knee one."""
POINTS_FOR_TWO_KNEES = 10
"""Fewer points than this get a straight rail."""

UNCERTAINTY_TABLE, UNCERTAINTY_NAMEPLATE, UNCERTAINTY_OTHER_MAKER = 0.04, 0.10, 0.15
"""Relative standard uncertainty against a wall meter before fit and nameplate errors are added; assumed. Nameplates
allow 5 % in power, and firmware watts are estimates."""


@dataclass(frozen=True)
class Table:
    """One published table of a hardware model, in rising power.

    ``volt_v`` is empty unless the rail is published and taken as it is.
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

    def without(self, indices: Sequence[int]) -> Table:
        """The table without some of its points."""
        kept = tuple(p for i, p in enumerate(self.points) if i not in indices)
        return dataclasses.replace(self, points=kept)


@functools.cache
def load_tables() -> tuple[Table, ...]:
    """All tables that models are fitted to."""
    return tuple(_table_of(row) for row in read_rows("tables.csv"))


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
        default=row["default"] == "yes",
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


def leak_constants() -> tuple[float, float]:
    """Fit the growth of leakage with temperature, and the leakage share of the X21 generation.

    The S19j Pro's leakage share comes from its table; the growth follows from 24 -> 34 J/TH between 20 and 75 C at
    constant hashrate. The X21 share follows from the T21's day swing with the same growth.

    Returns:
        (beta_per_k for X19 and later, leakage share of DC power of X21 at the reference temperature).
    """
    optimize = _scipy_optimize()
    table = next(t for t in load_tables() if t.hardware == "Antminer S19j Pro (104T)")
    trial = _fit_table(table, _frame(table.hardware, 0.05, 0.0))

    def excess(beta_per_k: float) -> float:
        unit = dataclasses.replace(trial, beta_per_k=beta_per_k)
        freq = np.float64(unit.freq_stock_mhz)
        hot_w, cold_w = (unit.power_w(freq, temp_chip_c=np.float64(t)) for t in (TEMP_HOT_C, TEMP_COLD_C))
        return float(hot_w / cold_w) - EFFICIENCY_HOT_J_PER_TH / EFFICIENCY_COLD_J_PER_TH

    beta = float(optimize.brentq(excess, 0.005, 0.2))
    return beta, SWING_POWER / (2 * math.sinh(0.5 * beta * SWING_TEMP_K))


def _scipy_optimize() -> Any:
    try:
        from scipy import optimize
    except ImportError as error:
        raise MissingExtraError(
            explain("scipy is not installed", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    return optimize


def _frame(name: str, beta_per_k: float, leak_share_x21: float) -> _Frame:
    unit = model(name)
    hardware = _row("hardware.csv", "model", name)
    chip = _row("chips.csv", "chip", hardware["chip"])
    supply = _row("psus.csv", "psu", hardware["psu"])
    old = chip["generation"] in ("X7", "X9", "X15", "X17", "L3")
    return _Frame(
        unit=unit,
        chip=chip,
        supply=supply,
        hardware=hardware,
        boards=unit.boards or int(hardware["boards"]),
        chips_per_board=unit.chips_per_board or int(hardware["chips_per_board"]),
        fan_count=unit.fans if unit.fans is not None else int(hardware["fan_count"]),
        beta_per_k=BETA_OLD_PER_K if old else beta_per_k,
        leak_share=float(chip["leak_share"] or leak_share_x21),
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


def _minimax(matrix: Vector, lower: Sequence[float | None]) -> tuple[Vector, float]:
    """Coefficients x >= lower with the smallest worst |matrix x - 1|, and that error."""
    rows, columns = matrix.shape
    slack = np.ones((rows, 1))
    result = _scipy_optimize().linprog(
        np.r_[np.zeros(columns), 1.0],
        A_ub=np.r_[np.c_[matrix, -slack], np.c_[-matrix, -slack]],
        b_ub=np.r_[np.ones(rows), -np.ones(rows)],
        bounds=[(low, None) for low in lower] + [(0, None)],
        method="highs",
    )
    return result.x[:-1], float(result.x[-1])


@dataclass(frozen=True)
class _Rail:
    floor_v: float
    knee_mhz: float
    slope: float
    knee2_mhz: float
    slope2: float
    error: float


def _fit_rail(freq_mhz: Vector, volt_v: Vector, knees: int) -> _Rail:
    """The rail curve with the smallest worst relative error; monotone; with 0 knees a straight line."""
    if len(freq_mhz) == 1:
        return _Rail(float(volt_v[0]), float(freq_mhz[0]), 0.0, float(freq_mhz[0]), 0.0, 0.0)
    start, end = float(freq_mhz.min()), float(freq_mhz.max())
    inner = np.unique(np.quantile(freq_mhz, np.linspace(0, 1, KNEE_CANDIDATES)))[:-1]
    pairs: list[tuple[float, float]] = {
        0: [(start, end)],
        1: [(float(k), end) for k in inner],
        2: [(float(a), float(b)) for a, b in itertools.combinations(inner, 2)],
    }[knees]
    best: _Rail | None = None
    for knee, knee2 in pairs:
        # Columns: floor, slope between the knees, slope beyond the second; each slope 0 or more.
        between = np.clip(freq_mhz - knee, 0.0, knee2 - knee)
        columns = [np.ones_like(freq_mhz), between]
        if knees == 2:
            columns.append(np.maximum(freq_mhz - knee2, 0.0))
        x, error = _minimax(np.stack(columns, axis=1) / volt_v[:, None], [0.0] * len(columns))
        if best is None or error < best.error - 1e-9:
            best = _Rail(float(x[0]), knee, float(x[1]), knee2, float(x[-1]), error)
    assert best is not None
    return best


def _fit_table(table: Table, frame: _Frame) -> Electrical:
    slope, freq = _frequencies(table, frame)
    published = table.published_volts
    dc_w = frame.power_dc_w(table.power_w)
    count = len(table.points)
    nameplate_ths = frame.unit.hashrate_ths or float(np.median(table.hashrate_ths))
    stock = float(frame.hardware["freq_stock_mhz"] or nameplate_ths / slope)
    if published:
        volts = np.array([p.volt_v for p in table.points], dtype=np.float64)
        rail = _fit_rail(freq, volts, 1 if count >= POINTS_FOR_TWO_KNEES else 0)
        rail_v = _rail_values(rail, freq)
        if frame.chip["leak_share"] and count < POINTS_FOR_TWO_KNEES:
            scale = _share_matrix(freq, rail_v, stock, frame)
            (total,), _ = _minimax((scale / dc_w)[:, None], [0.0])
            volt_stock = float(_rail_values(rail, np.float64(stock)))
            c = total * (1 - frame.leak_share) / (stock * volt_stock**2)
            g = total * frame.leak_share / volt_stock**2
        else:
            (c, g), _ = _minimax(np.stack([freq * rail_v**2, rail_v**2], axis=1) / dc_w[:, None], [0.0, 0.0])
    else:
        dc_stock = float(np.interp(stock, freq, dc_w)) if count > 1 else float(dc_w[0] * stock / freq[0])
        c = (1 - frame.leak_share) * dc_stock / (stock * frame.volt_stock_v**2)
        g = frame.leak_share * dc_stock / frame.volt_stock_v**2
        needed_v = np.sqrt(dc_w / (c * freq + g))
        if count < POINTS_FOR_TWO_KNEES:
            rail = _fit_rail(freq, needed_v, 0)
        else:
            rail = _fit_rail(freq, needed_v, 1)
            if 2 * rail.error > ERROR_SIMPLE:
                rail = _fit_rail(freq, needed_v, 2)
    fitted = _assemble(frame, table.name, slope, float(c), float(g), rail, freq, stock)
    error = np.abs(fitted.power_w(freq) / table.power_w - 1).max()
    nameplate = frame.unit.power_w
    gap = 0.0 if nameplate is None else fitted.power_stock_w / nameplate - 1
    uncertainty = math.hypot(UNCERTAINTY_TABLE, error, 0.5 * gap, 0.0 if count >= POINTS_FOR_TWO_KNEES else 0.04)
    return dataclasses.replace(fitted, error_power_max=float(error), uncertainty_power=uncertainty)


def _share_matrix(freq: Vector, rail_v: Vector, stock: float, frame: _Frame) -> Vector:
    volt_stock = np.interp(stock, freq, rail_v)
    relative = (rail_v / volt_stock) ** 2
    return np.asarray(relative * ((1 - frame.leak_share) * freq / stock + frame.leak_share))


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


def _borrow(frame: _Frame, donor: Electrical) -> Electrical:
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
    fitted = _assemble(frame, "nameplate", hashrate_ths / stock, float(c), float(g), rail, reach, stock)
    other = frame.chip["chip"] == "other"
    return dataclasses.replace(fitted, uncertainty_power=UNCERTAINTY_OTHER_MAKER if other else UNCERTAINTY_NAMEPLATE)


def _provenance(fitted: Electrical, frame: _Frame, table: Table | None, donor: str) -> tuple[Provenance, ...]:
    chip, hardware, supply = frame.chip, frame.hardware, frame.supply
    counted = "measured" if frame.unit.chips_per_board else "assumed"
    if table is None:
        curve = ("borrowed", f"shape of {donor}, scaled to the nameplate ({hardware['source']})")
        rail = curve
    else:
        curve = ("fitted", f"{table.name}, {len(table.points)} points")
        rail = (
            ("measured", f"published rail of {table.name}")
            if table.published_volts
            else (
                "fitted",
                f"effective rail, inferred from the power of {table.name}; not a published voltage",
            )
        )
    leak_kind = next((k for k in ("fitted", "borrowed") if chip["leak_source"].startswith(k)), "assumed")
    old = frame.beta_per_k == BETA_OLD_PER_K
    published_freq = table is not None and all(p.freq_mhz is not None for p in table.points)
    entries = [
        ("chips_per_board", counted, frame.unit.source if counted == "measured" else hardware["source"]),
        (
            "ths_per_mhz_chip",
            "fitted" if published_freq else "assumed" if "assumed" in chip["hashrate_source"] else "measured",
            curve[1] if published_freq else chip["hashrate_source"],
        ),
        ("c_w_per_mhz_v2", *curve),
        ("g_w_per_v2", leak_kind, chip["leak_source"]),
        (
            "beta_per_k",
            "assumed" if old else "fitted" if chip["chip"] == "BM1362" else "borrowed",
            "X17 and older respond far less to temperature than X19 (ydminer.com)"
            if old
            else "S19j Pro 24 -> 34 J/TH from 20 to 75 C at constant hashrate (Braiins)",
        ),
        ("temp_ref_c", "assumed", "firmware estimates chip = board + 15 C and targets 50 to 55 C boards"),
        ("power_ctrl_w", "assumed", "control board"),
        (
            "fan_power_max_w",
            "measured" if frame.fan_count else "assumed",
            "12 V x 1.65 A (S19 Pro fan, buybtc123.com)" if frame.fan_count else "no fans",
        ),
        ("fan_duty_ref", "assumed", "duty at which tables were taken"),
        ("psu_eta_rated", "assumed" if "assumed" in supply["source"] else "measured", supply["source"]),
        ("volt", *rail),
        ("freq_range", curve[0], "range of the table" if table else f"range of {donor}, in shares of stock"),
    ]
    return tuple(Provenance(*entry) for entry in entries)


def fit(name: str, table: str | None = None) -> Electrical:
    """Fit one model afresh, to its default table, another of its tables, or its nameplate.

    Raises:
        CatalogError: no such model or table, or nothing to fit.
        MissingExtraError: scipy is not installed.
    """
    beta, share_x21 = leak_constants()
    return _fit(model(name).name, table, beta, share_x21)


def _fit(name: str, table_name: str | None, beta: float, share_x21: float) -> Electrical:
    frame = _frame(name, beta, share_x21)
    tables = [t for t in load_tables() if t.hardware == name]
    chosen = next((t for t in tables if (t.default if table_name is None else t.name == table_name)), None)
    if chosen is not None and len(chosen.points) == 1:
        point = chosen.points[0]
        nameplate = dataclasses.replace(frame.unit, hashrate_ths=point.hashrate_ths, power_w=point.power_w)
        frame = dataclasses.replace(frame, unit=nameplate)
    elif chosen is not None:
        fitted = _fit_table(chosen, frame)
        return dataclasses.replace(fitted, provenance=_provenance(fitted, frame, chosen, ""))
    donor_name = frame.hardware["donor"]
    if frame.unit.hashrate_ths is None or frame.unit.power_w is None or not donor_name:
        raise CatalogError(explain(f"{name!r} has neither a table nor a nameplate to fit", origin="minesim/catalog"))
    donor = _fit(donor_name, None, beta, share_x21)
    fitted = _borrow(frame, donor)
    return dataclasses.replace(fitted, provenance=_provenance(fitted, frame, None, donor_name))


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
    beta, share_x21 = leak_constants()
    return tuple(_fit(name, table, beta, share_x21) for name, table in fittable())


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
