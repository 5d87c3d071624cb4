"""Hardware rows with their sources: models, published presets, and the names they are known by."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from minesim.errors import CatalogError, DataFileError, explain, nearest

THS_PER_UNIT: Final[Mapping[str, float]] = {"TH/s": 1.0, "GH/s": 1e-3, "MH/s": 1e-6}
"""Hashrate units of the tables in TH/s."""

_VENDOR = re.compile(r"^(antminer|whatsminer|avalonminer|avalon|elphapex|goldshell)\s+", re.IGNORECASE)
_BIN = re.compile(r"\s*\([^)]*\)\s*$")


@dataclass(frozen=True)
class AsicModel:
    """One hardware model as listed by its maker or a device table; ``None`` means "not found in a source".

    Attributes:
        name: catalog name, e.g. ``Antminer S19j Pro (104T)``.
        algorithm: ``SHA-256`` or ``Scrypt``.
        hashrate_ths, power_w, efficiency_j_per_th: nameplate; Scrypt too is in TH/s, so J/TH is large there.
        boards, chips_per_board, fans: counts per miner.
        temp_amb_min_c, temp_amb_max_c: operating range of the intake air, degC.
        release_date: ISO date, good to the month at best.
        source: where the row comes from.
    """

    name: str
    algorithm: str
    hashrate_ths: float | None
    power_w: float | None
    efficiency_j_per_th: float | None
    boards: int | None
    chips_per_board: int | None
    fans: int | None
    temp_amb_min_c: float | None
    temp_amb_max_c: float | None
    release_date: str | None
    source: str


@dataclass(frozen=True)
class Preset:
    """One operating point: what a firmware calls a preset or profile.

    Attributes:
        model: catalog name (tuned grids) or the table's own model name (published rows).
        firmware: firmware and version, or ``minesim`` for a point computed from the fitted model.
        name: preset name as the firmware shows it.
        power_w: wall power, W.
        hashrate_ths: hashrate, TH/s.
        freq_mhz, volt_v: chip clock and rail; ``None`` where not published.
        source: where the point comes from.
    """

    model: str
    firmware: str
    name: str
    power_w: float
    hashrate_ths: float
    freq_mhz: float | None
    volt_v: float | None
    source: str

    @property
    def efficiency_j_per_th(self) -> float:
        """Energy per hash, J/TH."""
        return self.power_w / self.hashrate_ths


UNKNOWN_CHIP: Final = "other"
"""Stands in chips.csv for all chips that no source names."""


@functools.cache
def read_rows(file_name: str) -> tuple[Mapping[str, str], ...]:
    """Read one of the catalog's CSV files as dictionaries.

    Raises:
        DataFileError: the file is missing, or a row has too many or too few fields.
    """
    path = resources.files("minesim.catalog") / file_name
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataFileError(
            explain(f"catalog file {file_name!r} is missing", origin="minesim.catalog", fix="Reinstall minesim.")
        ) from error
    rows = tuple(csv.DictReader(text.splitlines()))
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataFileError(
                explain(f"line {line} has a wrong number of fields", origin=f"minesim/catalog/{file_name}")
            )
    return rows


def _float(text: str) -> float | None:
    return float(text) if text else None


def _int(text: str) -> int | None:
    return int(text) if text else None


@functools.cache
def load_models() -> tuple[AsicModel, ...]:
    """All hardware models, in catalog order."""
    return tuple(_model_of(row) for row in read_rows("models.csv"))


def _model_of(row: Mapping[str, str]) -> AsicModel:
    unit = THS_PER_UNIT[row["hashrate_unit"]]
    hashrate = _float(row["hashrate"])
    power_w = _float(row["power_w"])
    hashrate_ths = None if hashrate is None else hashrate * unit
    listed = _float(row["efficiency_j_per_th"])
    computed = power_w / hashrate_ths if power_w is not None and hashrate_ths is not None else None
    return AsicModel(
        name=row["model"],
        algorithm=row["algorithm"],
        hashrate_ths=hashrate_ths,
        power_w=power_w,
        efficiency_j_per_th=computed if listed is None else listed,
        boards=_int(row["boards"]),
        chips_per_board=_int(row["chips_per_board"]),
        fans=_int(row["fans"]),
        temp_amb_min_c=_float(row["min_temp_c"]),
        temp_amb_max_c=_float(row["max_temp_c"]),
        release_date=row["release_date"] or None,
        source=row["source"],
    )


@functools.cache
def load_presets() -> tuple[Preset, ...]:
    """All published operating points, in catalog order."""
    return tuple(
        Preset(
            model=row["model"],
            firmware=row["firmware"],
            name=row["preset_name"],
            power_w=float(row["power_w"]),
            hashrate_ths=float(row["hashrate_ths"]),
            freq_mhz=_float(row["freq_mhz"]),
            volt_v=None if row["voltage_mv"] == "" else float(row["voltage_mv"]) * 1e-3,
            source=row["source"],
        )
        for row in read_rows("presets.csv")
    )


def _key(name: str) -> str:
    return re.sub(r"\s+", "", name).lower()


@functools.cache
def _names() -> Mapping[str, str]:
    """Every accepted spelling -> catalog name; the first in catalog order wins, full names before short ones."""
    full = {_key(m.name): m.name for m in load_models()}
    short: dict[str, str] = {}
    for row in read_rows("tables.csv"):
        short.setdefault(_key(row["preset_model"]), row["model"])
        short.setdefault(_key(_VENDOR.sub("", row["preset_model"])), row["model"])
    for model_ in load_models():
        bare = _VENDOR.sub("", model_.name)
        for form in (bare, _BIN.sub("", model_.name), _BIN.sub("", bare)):
            short.setdefault(_key(form), model_.name)
    return {**short, **full}


def canonical_name(name: str) -> str:
    """The catalog name behind a full or short form.

    Case, spaces and the maker's name may be left out. A name without its bin ("S19j Pro", "L9") means the first bin
    in catalog order, which is the largest: ``Antminer S19j Pro (104T)``, ``Antminer L9 (16G)``.

    Raises:
        CatalogError: no such model; the message names the nearest ones.

    >>> canonical_name("s19j pro")
    'Antminer S19j Pro (104T)'
    """
    found = _names().get(_key(name))
    if found is None:
        raise CatalogError(
            explain(
                f"no hardware model {name!r}",
                origin="minesim/catalog/models.csv",
                fix=_suggest(name),
            )
        )
    return found


def chip_of(name: str) -> str:
    """The hashing chip of a hardware model, full or short name (``BM1362``), or :data:`UNKNOWN_CHIP`.

    Raises:
        CatalogError: no such model, or one without a row in hardware.csv.
    """
    wanted = canonical_name(name)
    for row in read_rows("hardware.csv"):
        if row["model"] == wanted:
            return row["chip"]
    raise CatalogError(explain(f"the chip of {wanted!r} is not known", origin="minesim/catalog/hardware.csv"))


def _suggest(name: str) -> str:
    bare = [_VENDOR.sub("", m.name) for m in load_models()]
    return nearest(_VENDOR.sub("", name.strip()), [*dict.fromkeys(_BIN.sub("", form) for form in bare), *bare])


def model(name: str) -> AsicModel:
    """The hardware model called ``name`` (see :func:`canonical_name`).

    Raises:
        CatalogError: no such model.
    """
    wanted = canonical_name(name)
    return next(m for m in load_models() if m.name == wanted)


@functools.cache
def presets(name: str) -> tuple[Preset, ...]:
    """Published operating points of a model, all its tables together, in catalog order; empty if there are none.

    Raises:
        CatalogError: no such model.
    """
    wanted = canonical_name(name)
    titles = {row["preset_model"] for row in read_rows("tables.csv") if row["model"] == wanted}
    return tuple(p for p in load_presets() if p.model in titles)
