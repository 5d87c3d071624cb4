"""From a description of a site to the arrays of the twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from minesim.arrays import NUMPY
from minesim.catalog import electrical
from minesim.catalog.electrical import Electrical
from minesim.catalog.models import Preset
from minesim.control.fleet import CohortSpec, fleet_curves, padded, tuned_presets
from minesim.economics.finance import board_repair_usd, failed_restart_usd
from minesim.errors import ParamsError, explain, pick
from minesim.physics import asic, psu
from minesim.physics.firmware import FirmwareParams
from minesim.site import DENSITY_REF, MinerArrays, RoomParams, SiteParams, WearParams
from minesim.units import CP_AIR_J_PER_KG_K, M3_PER_S_PER_CFM

FLOW_PER_FAN_PAIR_CFM = 197.0
"""Two fans in series move what one does: 197 cfm each (S19 Pro fan; buybtc123.com). Four fans: 394 cfm at full speed;
370 cfm were measured through a farm's S19 Pro."""
NTU_FULL_FLOW = 1.35
"""Chosen so that an S21 behaves as in the field (throttles above 40 C intake, stops above 47 C): its heatsinks then
stand about 21 K over the intake at full flow and 3.5 kW. Assumed alike for all air-cooled models."""
CHIP_OVER_SINK_RATED_K = 15.0
"""Firmwares estimate chip = board + 15 C (LuxOS documentation, VNish offset table)."""
SINK_J_PER_K_PER_BOARD = 2400.0
"""About 8 kg of the 13.2 kg of an S19 Pro are heatsinks on three boards (share assumed), 900 J/kg/K."""
CHIP_J_PER_K_PER_BOARD = 100.0
"""Chips and copper of a board, assumed."""
LIQUID_RISE_RATED_K = 8.0
LIQUID_NTU = 1.5
"""Liquid-cooled units: coolant rise at rated power and transfer units, assumed."""
FAILURES_PER_YEAR = 0.05
"""5 % a year is what the field calls normal (S. Mow, 2020)."""
REPAIR_USD = board_repair_usd("hard", 2)
"""A repaired hashboard with two new chips; that a failure is such a repair is assumed."""
MARGIN_USD_PER_THS_DAY = 0.035
"""What a miner earns over its power while it stands still for repair; assumed, half of a hashprice of 70 USD/PH/s/day.
Counted only where failures are charged as an expectation: drawn failures lose their hashes in the twin."""
STOP_USD = 0.05
"""Expected solder fatigue of one full stop (45 K) per miner; assumed."""


@dataclass(frozen=True)
class SiteSpec:
    """A site in words and numbers.

    Attributes:
        name: what it is called in reports.
        cohorts: the miners.
        firmware, room, wear: parameters of the twin.
        sub_steps: integration steps per control step.
    """

    name: str
    cohorts: tuple[CohortSpec, ...]
    firmware: FirmwareParams = field(default_factory=FirmwareParams)
    room: RoomParams = field(default_factory=RoomParams)
    wear: WearParams = field(default_factory=WearParams)
    sub_steps: int = 5


_CONTAINER = (
    ("Antminer S19j Pro (104T)", (13, 13, 13, 13, 12)),
    ("Antminer S19 Pro", (12, 12, 12)),
    ("Antminer S19 XP", (13, 12, 12)),
    ("Antminer S19k Pro", (13, 13)),
    ("Antminer S19 (95T)", (13, 12)),
    ("Antminer S17 Pro", (12,)),
)


def _sites() -> tuple[SiteSpec, ...]:
    container = tuple(CohortSpec(name, count) for name, counts in _CONTAINER for count in counts)
    return (
        SiteSpec("container", container),
        SiteSpec("one_s19j_pro", (CohortSpec("Antminer S19j Pro (104T)", 1),)),
    )


def site_spec(name: str | SiteSpec) -> SiteSpec:
    """A ready-made site: ``container`` (16 cohorts of mixed models, 200 miners) or ``one_s19j_pro``.

    Raises:
        ParamsError: unknown name (nearest names suggested).
    """
    if isinstance(name, SiteSpec):
        return name
    return pick("site", name, {spec.name: spec for spec in _sites()})


def without_wear(spec: SiteSpec) -> SiteSpec:
    """The same site at stop and wear cost zero."""
    return replace(spec, wear=replace(spec.wear, scale=0.0))


def build_site(spec: str | SiteSpec) -> SiteParams:
    """Look the hardware up and lay it out as arrays.

    Args:
        spec: a site or the name of a ready-made one.

    Returns:
        Parameters in numpy double precision (``.to(...)`` moves them).

    Raises:
        ParamsError, CatalogError: impossible or unknown parts.
    """
    spec = site_spec(spec)
    if spec.sub_steps < 1:
        raise ParamsError(explain(f"sub_steps is {spec.sub_steps}", allowed="1 or more", origin=f"site {spec.name!r}"))
    units = [electrical(c.model, c.table) for c in spec.cohorts]
    curves = fleet_curves(spec.cohorts, has_throttle=spec.firmware.has_throttle)
    return SiteParams(
        curves=curves,
        miners=_miner_arrays(spec.cohorts, units, spec.wear),
        firmware=spec.firmware,
        room=spec.room,
        wear=spec.wear,
        sub_steps=spec.sub_steps,
    )


def _miner_arrays(cohorts: Sequence[CohortSpec], units: Sequence[Electrical], wear: WearParams) -> MinerArrays:
    boards = np.array([float(u.boards) for u in units])
    present = (np.arange(int(boards.max()))[:, None] < boards).astype(np.float64)
    presets = [tuned_presets(c) for c in cohorts]
    rated_w = np.array([row[-1].power_w for row in presets])
    fans = np.array([float(u.fan_count) for u in units])
    liquid = fans == 0.0
    air_m3_per_s = fans / 2.0 * FLOW_PER_FAN_PAIR_CFM * M3_PER_S_PER_CFM
    standby_w, linear, per_w = psu.loss_coefficients(
        np.array([u.psu_rated_dc_w for u in units]), np.array([u.psu_eta_rated for u in units])
    )
    margin_usd_per_day = MARGIN_USD_PER_THS_DAY * np.array([row[-1].hashrate_ths for row in presets])
    failed_usd = failed_restart_usd(REPAIR_USD, margin_usd_per_day * (0.0 if wear.sample_failures else 1.0))
    return MinerArrays(
        board_present=present,
        board_dyn_w=padded([[_switching_w(u, p) for p in row] for u, row in zip(units, presets, strict=True)]),
        board_leak_w=padded([[_leakage_w(u, p) for p in row] for u, row in zip(units, presets, strict=True)]),
        beta_per_k=np.array([u.beta_per_k for u in units]),
        temp_ref_c=np.array([u.temp_ref_c for u in units]),
        psu_standby_w=standby_w,
        psu_linear=linear,
        psu_per_w=per_w,
        ctrl_w=np.array([u.power_ctrl_w for u in units]),
        fan_max_w=np.array([u.fan_count * u.fan_power_max_w for u in units]),
        liquid=liquid.astype(np.float64),
        flow_max_w_per_k=np.where(
            liquid, rated_w / LIQUID_RISE_RATED_K, air_m3_per_s * DENSITY_REF * CP_AIR_J_PER_KG_K
        ),
        ntu_ref=np.where(liquid, LIQUID_NTU, NTU_FULL_FLOW),
        chip_j_per_k=np.full(len(units), CHIP_J_PER_K_PER_BOARD),
        sink_j_per_k=np.full(len(units), SINK_J_PER_K_PER_BOARD),
        chip_sink_w_per_k=rated_w / boards / CHIP_OVER_SINK_RATED_K,
        wear_usd_per_h=np.full(len(units), FAILURES_PER_YEAR * REPAIR_USD / 8760.0),
        stop_usd=np.full(len(units), STOP_USD),
        failed_restart_usd=failed_usd,
    )


def _switching_w(unit: Electrical, preset: Preset) -> float:
    """Switching power of one board, DC."""
    volt_v = preset.volt_v or 0.0
    return float(asic.dynamic_power_w(preset.freq_mhz or 0.0, volt_v, unit.c_w_per_mhz_v2 / unit.boards))


def _leakage_w(unit: Electrical, preset: Preset) -> float:
    """Leakage of one board of mean silicon at the reference temperature, DC."""
    reference_c = np.float64(unit.temp_ref_c)
    per_board = unit.g_w_per_v2 / unit.boards
    volt_v = np.float64(preset.volt_v or 0.0)
    return float(asic.leakage_power_w(volt_v, reference_c, per_board, unit.beta_per_k, reference_c, xp=NUMPY))
