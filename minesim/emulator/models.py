"""What the firmware says of a hardware model: its names, limits, boards and presets."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from minesim.catalog import electrical, model, preset_grid
from minesim.catalog.models import read_rows
from minesim.control.fleet import CohortSpec, tuned_presets
from minesim.errors import ParamsError, explain

FAN_MAX_RPM = 6000
"""Full speed of a miner's fan: 6000 in live payloads of an S19."""
COLUMNS = 8
"""Columns of the chip map; an S19's has 8."""
OVERCLOCK_RESERVE = 1.02
"""Highest rail of a modified supply over that of the stock one: 15.35 to 15.00 V on an S19."""
_NAMES = {"Hydro": "Hyd."}
"""The maker's spelling, which fleet tools know."""


@dataclass(frozen=True)
class ModelPreset:
    """A preset as the firmware offers it.

    Attributes:
        name: nominal watts as text.
        pretty: what the web page shows.
        power_w, hashrate_ths, freq_mhz, volt_v: operating point.
        tuned: whether this unit was tuned for it: up to stock power.
        modded_psu: whether it needs a modified supply.
    """

    name: str
    pretty: str
    power_w: float
    hashrate_ths: float
    freq_mhz: float
    volt_v: float
    tuned: bool
    modded_psu: bool


@dataclass(frozen=True)
class MinerModel:
    """A hardware model behind VNish.

    Attributes:
        catalog_name: row of the catalog.
        full_name: e.g. ``Antminer S19j Pro``.
        code: e.g. ``s19jpro``.
        series: l7, l9, x19 or x21: the API knows no other, so older models say x19.
        algorithm: ``sha256d`` or ``scrypt``.
        hr_measure: unit of hashrates.
        per_ths: hashrates in that unit for 1 TH/s.
        boards, chips_per_board, fans: counts.
        liquid: cooled by a liquid.
        psu_model: supply.
        freq_min_mhz, freq_max_mhz, freq_stock_mhz, volt_min_v, volt_max_v, volt_stock_v: range of the stock supply.
        hashrate_stock_ths, power_stock_w: nameplate.
        presets: by rising power, the tuned ones first.
    """

    catalog_name: str
    full_name: str
    code: str
    series: str
    algorithm: str
    hr_measure: str
    per_ths: float
    boards: int
    chips_per_board: int
    fans: int
    liquid: bool
    psu_model: str
    freq_min_mhz: float
    freq_max_mhz: float
    freq_stock_mhz: float
    volt_min_v: float
    volt_max_v: float
    volt_stock_v: float
    hashrate_stock_ths: float
    power_stock_w: float
    presets: tuple[ModelPreset, ...]

    def preset_index(self, name: str) -> int | None:
        """Number of a preset by name, None where there is none of that name."""
        return next((i for i, preset in enumerate(self.presets) if preset.name == name), None)

    def nearest_tuned(self, freq_mhz: float) -> int:
        """Number of the tuned preset whose clock is nearest."""
        tuned = [i for i, preset in enumerate(self.presets) if preset.tuned]
        return min(tuned, key=lambda i: abs(self.presets[i].freq_mhz - freq_mhz))


@functools.cache
def miner_model(name: str, table: str | None = None) -> MinerModel:
    """What the firmware says of a catalog model.

    Args:
        name: full or short catalog name.
        table: published preset table, None for the default one.

    Raises:
        CatalogError: unknown model, or one without an electrical model.
        ParamsError: no Antminer: the firmware runs on no other.
    """
    row, unit = model(name), electrical(name, table)
    if not row.name.startswith("Antminer "):
        raise ParamsError(explain(f"VNish does not run on {row.name!r}", allowed="Antminer models"))
    scrypt = row.algorithm == "Scrypt"
    bare = re.split(r" / |\s*\(", row.name)[0]
    full_name = " ".join(_NAMES.get(word, word) for word in bare.split())
    code = re.sub(r"[^a-z0-9+]", "", full_name.removeprefix("Antminer ").lower()).replace("+", "plus")
    series = next((s for s, mark in (("l7", "l7"), ("l9", "l9"), ("x21", "21")) if mark in code), "x19")
    hardware = next(r for r in read_rows("hardware.csv") if r["model"] == row.name)
    tuned = {preset.name for preset in tuned_presets(CohortSpec(row.name, 1, table))}
    grid = preset_grid(row.name, table)
    unit_name, scale = ("GH", 1e3) if scrypt else ("TH", 1.0)
    digits = 2 if scrypt else 0
    presets = tuple(
        ModelPreset(
            name=preset.name,
            pretty=f"{preset.name} watt ~ {preset.hashrate_ths * scale:.{digits}f} {unit_name}",
            power_w=preset.power_w,
            hashrate_ths=preset.hashrate_ths,
            freq_mhz=preset.freq_mhz or 0.0,
            volt_v=preset.volt_v or 0.0,
            tuned=preset.name in tuned,
            modded_psu=preset is grid[-1] and preset.name not in tuned,
        )
        for preset in grid
    )
    return MinerModel(
        catalog_name=row.name,
        full_name=full_name,
        code=code,
        series=series,
        algorithm="scrypt" if scrypt else "sha256d",
        hr_measure="MH/s" if scrypt else "GH/s",
        per_ths=1e6 if scrypt else 1e3,
        boards=unit.boards,
        chips_per_board=unit.chips_per_board,
        fans=unit.fan_count,
        liquid=unit.fan_count == 0,
        psu_model=hardware["psu"],
        freq_min_mhz=unit.freq_min_mhz,
        freq_max_mhz=unit.freq_max_mhz,
        freq_stock_mhz=unit.freq_stock_mhz,
        volt_min_v=unit.volt_min_v,
        volt_max_v=unit.volt_max_v,
        volt_stock_v=float(unit.rail_volt_v(unit.freq_stock_mhz)),
        hashrate_stock_ths=unit.hashrate_stock_ths,
        power_stock_w=unit.power_stock_w,
        presets=presets,
    )
