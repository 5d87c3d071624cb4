"""One electrical model per hardware model: frequency, rail and temperature to wall power and hashrate."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass

from minesim.arrays import NUMPY, Array, Namespace, namespace_of
from minesim.catalog.models import Preset, canonical_name, load_models, read_rows
from minesim.errors import CatalogError, ParamsError, explain
from minesim.physics import asic, psu


@dataclass(frozen=True)
class Provenance:
    """Where one parameter comes from.

    Attributes:
        parameter: field of :class:`Electrical`.
        kind: ``measured`` (live telemetry), ``published`` (maker, firmware or device table), ``fitted``, ``borrowed``
            or ``assumed``.
        note: the source, or what it was borrowed from.
    """

    parameter: str
    kind: str
    note: str


@dataclass(frozen=True)
class Electrical:
    """Electrical model of one MINER (not of a board), valid from ``freq_min_mhz`` to ``freq_max_mhz``.

    Wall power is ``psu(c f V^2 + g V^2 exp(beta (T - T_ref))) + control board + fans``; published tables are
    reproduced at chip temperature ``temp_ref_c`` and fan duty ``fan_duty_ref``.

    Attributes:
        model: catalog name.
        table: published table it is fitted to, or ``nameplate``.
        boards, chips_per_board: counts.
        ths_per_mhz_chip: TH/s per MHz and chip.
        c_w_per_mhz_v2: switching coefficient of the whole miner, W per MHz and V^2.
        g_w_per_v2: leakage coefficient of the whole miner at ``temp_ref_c``, W per V^2.
        beta_per_k: growth of leakage with chip temperature, 1/K.
        temp_ref_c: chip temperature that tables and nameplates refer to (assumed), degC.
        power_ctrl_w: control board, W at the wall.
        fan_count, fan_power_max_w: number of fans and power of each at full speed, W.
        fan_duty_ref: fan speed share that tables and nameplates refer to (assumed).
        psu_eta_rated, psu_rated_dc_w: power supply, see :func:`minesim.physics.psu.input_power_w`.
        volt_floor_v, freq_knee_mhz, volt_per_mhz, freq_knee2_mhz, volt_per_mhz2: the firmware's rail curve, see
            :func:`minesim.physics.asic.rail_volt_v`.
        volt_guard_rel: margin of that rail over the onset of hardware errors, relative.
        freq_min_mhz, freq_max_mhz, volt_min_v, volt_max_v: range of the rail curve.
        freq_stock_mhz, power_stock_w, hashrate_stock_ths: the model at its default setting.
        uncertainty_power: relative standard uncertainty of wall power against a meter.
        error_power_max: worst relative error against the table (0 for a nameplate).
        provenance: one entry per parameter.
    """

    model: str
    table: str
    boards: int
    chips_per_board: int
    ths_per_mhz_chip: float
    c_w_per_mhz_v2: float
    g_w_per_v2: float
    beta_per_k: float
    temp_ref_c: float
    power_ctrl_w: float
    fan_count: int
    fan_power_max_w: float
    fan_duty_ref: float
    psu_eta_rated: float
    psu_rated_dc_w: float
    volt_floor_v: float
    freq_knee_mhz: float
    volt_per_mhz: float
    freq_knee2_mhz: float
    volt_per_mhz2: float
    volt_guard_rel: float
    freq_min_mhz: float
    freq_max_mhz: float
    volt_min_v: float
    volt_max_v: float
    freq_stock_mhz: float
    power_stock_w: float
    hashrate_stock_ths: float
    uncertainty_power: float
    error_power_max: float
    provenance: tuple[Provenance, ...] = ()

    @property
    def chips(self) -> int:
        """Number of hashing chips in the miner."""
        return self.boards * self.chips_per_board

    def rail_volt_v(self, freq_mhz: Array, *, xp: Namespace | None = None) -> Array:
        """Rail voltage in V that the firmware sets for ``freq_mhz`` (any shape)."""
        return asic.rail_volt_v(
            freq_mhz,
            self.volt_floor_v,
            self.freq_knee_mhz,
            self.volt_per_mhz,
            self.freq_knee2_mhz,
            self.volt_per_mhz2,
            xp=xp or namespace_of(freq_mhz),
        )

    def needed_volt_v(self, freq_mhz: Array, *, xp: Namespace | None = None) -> Array:
        """Rail in V that median silicon needs at ``freq_mhz`` (any shape), at the reference temperature."""
        return asic.needed_volt_v(
            freq_mhz,
            self.volt_floor_v,
            self.freq_knee_mhz,
            self.volt_per_mhz,
            self.freq_knee2_mhz,
            self.volt_per_mhz2,
            self.volt_guard_rel,
            xp=xp or namespace_of(freq_mhz),
        )

    def hashrate_ths(self, freq_mhz: Array) -> Array:
        """Error-free hashrate in TH/s at ``freq_mhz`` (any shape)."""
        return asic.hashrate_ths(freq_mhz, self.chips, self.ths_per_mhz_chip)

    def power_w(
        self,
        freq_mhz: Array,
        volt_v: Array | None = None,
        temp_chip_c: Array | None = None,
        fan_duty: Array | None = None,
    ) -> Array:
        """Wall power in W; what is left out is the rail curve, the reference temperature and the reference duty.

        Args:
            freq_mhz: chip clock, MHz, any shape; all arrays are of one library.
            volt_v: rail, V.
            temp_chip_c: chip temperature, degC.
            fan_duty: fan speed as a share of full speed, 0 to 1.

        Returns:
            Wall power in W, the broadcast shape.
        """
        given = [x for x in (freq_mhz, volt_v, temp_chip_c, fan_duty) if x is not None]
        xp = next((space for space in map(namespace_of, given) if space is not NUMPY), NUMPY)
        rail_v = self.rail_volt_v(freq_mhz) if volt_v is None else volt_v
        temp_c = self.temp_ref_c + 0.0 * freq_mhz if temp_chip_c is None else temp_chip_c
        duty = self.fan_duty_ref if fan_duty is None else fan_duty
        chips_w = asic.dynamic_power_w(freq_mhz, rail_v, self.c_w_per_mhz_v2) + asic.leakage_power_w(
            rail_v, temp_c, self.g_w_per_v2, self.beta_per_k, self.temp_ref_c, xp=xp
        )
        wall_w = psu.input_power_w(chips_w, self.psu_rated_dc_w, self.psu_eta_rated)
        return wall_w + self.power_ctrl_w + self.fan_count * self.fan_power_max_w * duty**3

    def freq_at_power_mhz(self, power_w: float) -> float:
        """Frequency on the rail curve that draws ``power_w`` at reference temperature and duty, MHz.

        Raises:
            ParamsError: the power is outside the curve.
        """
        low_w, high_w = float(self.power_w(self.freq_min_mhz)), float(self.power_w(self.freq_max_mhz))
        if not low_w * (1 - 1e-6) <= power_w <= high_w * (1 + 1e-6):
            raise ParamsError(
                explain(
                    f"power_w is {power_w:.0f} W for {self.model!r}",
                    allowed=f"{low_w:.0f} to {high_w:.0f} W",
                    origin=f"electrical model fitted to {self.table}",
                )
            )
        low, high = self.freq_min_mhz, self.freq_max_mhz
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.power_w(middle) < power_w else (low, middle)
        return 0.5 * (low + high)


@functools.cache
def load_electrical() -> tuple[Electrical, ...]:
    """All fitted electrical models, the default table of a model before its other tables."""
    notes: dict[tuple[str, str], list[Provenance]] = {}
    for row in read_rows("provenance.csv"):
        entry = Provenance(row["parameter"], row["kind"], row["note"])
        notes.setdefault((row["model"], row["table"]), []).append(entry)
    return tuple(
        _electrical_of(row, tuple(notes.get((row["model"], row["table"]), ()))) for row in read_rows("electrical.csv")
    )


def _electrical_of(row: Mapping[str, str], provenance: tuple[Provenance, ...]) -> Electrical:
    casts = {"str": str, "int": int, "float": float}
    values = {
        field.name: casts[str(field.type)](row[field.name])
        for field in dataclasses.fields(Electrical)
        if field.name != "provenance"
    }
    return Electrical(**values, provenance=provenance)


@functools.cache
def electrical(name: str, table: str | None = None) -> Electrical:
    """The electrical model of a hardware model.

    Args:
        name: full or short model name.
        table: a published table when the model has several (``"VNish"``); the default one when left out.

    Raises:
        CatalogError: no such model or table, or neither nameplate power nor a table to fit.
    """
    wanted = canonical_name(name)
    rows = [e for e in load_electrical() if e.model == wanted]
    if not rows:
        raise CatalogError(
            explain(
                f"{wanted!r} has no electrical model: no source gives both its hashrate and its power",
                origin="minesim/catalog/models.csv",
                fix="Choose a model of minesim.catalog.electrical_models(), or add a nameplate to its row.",
            )
        )
    if table is None:
        return rows[0]
    for row in rows:
        if row.table == table:
            return row
    raise CatalogError(
        explain(
            f"{wanted!r} has no table {table!r}",
            allowed=", ".join(repr(row.table) for row in rows),
            origin="minesim/catalog/tables.csv",
        )
    )


@functools.cache
def electrical_models() -> tuple[str, ...]:
    """Catalog names of the models that have an electrical model, in catalog order."""
    fitted = {e.model for e in load_electrical()}
    return tuple(m.name for m in load_models() if m.name in fitted)


LEVELS_TO_STOCK = 8
LEVELS_ABOVE_STOCK = 3
OVERCLOCK_MARGIN = 1.03
"""A table must reach this much above stock power before levels above stock are offered."""


@functools.cache
def preset_grid(name: str, table: str | None = None) -> tuple[Preset, ...]:
    """The tuned presets of a model, rising in power, computed from its electrical model.

    Eight levels evenly spaced in power from the lowest setting to stock, and up to three above where the curve goes
    there. Power, hashrate, frequency and rail of each are consistent with :class:`Electrical` at reference
    temperature and duty.

    Raises:
        CatalogError: no such model or table, or no electrical model.
    """
    unit = electrical(name, table)
    low_w, high_w = float(unit.power_w(unit.freq_min_mhz)), float(unit.power_w(unit.freq_max_mhz))
    step_w = (unit.power_stock_w - low_w) / (LEVELS_TO_STOCK - 1)
    powers_w = [low_w + i * step_w for i in range(LEVELS_TO_STOCK)]
    if high_w > OVERCLOCK_MARGIN * unit.power_stock_w:
        above_w = (high_w - unit.power_stock_w) / LEVELS_ABOVE_STOCK
        powers_w += [unit.power_stock_w + (i + 1) * above_w for i in range(LEVELS_ABOVE_STOCK)]
    return tuple(_computed_preset(unit, power_w) for power_w in powers_w)


def _computed_preset(unit: Electrical, power_w: float) -> Preset:
    freq_mhz = unit.freq_at_power_mhz(power_w)
    return Preset(
        model=unit.model,
        firmware="minesim",
        name=f"{power_w:.0f}",
        power_w=float(unit.power_w(freq_mhz)),
        hashrate_ths=float(unit.hashrate_ths(freq_mhz)),
        freq_mhz=freq_mhz,
        volt_v=float(unit.rail_volt_v(freq_mhz)),
        source=f"electrical model fitted to {unit.table}",
    )
