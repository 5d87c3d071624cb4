"""Fleets: which models stand at a site, and what is publicly known of them as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minesim.catalog import electrical, preset_grid
from minesim.catalog.electrical import Electrical
from minesim.catalog.models import Preset
from minesim.control.actuate import FleetCurves
from minesim.economics.pool import net_factor
from minesim.errors import ParamsError, explain

DEV_FEE_FRACTION = 0.02
"""VNish takes 1.8 to 2.66 % of the time, seen in live payloads."""
POOL_FEE_FRACTION = 0.02
"""An FPPS pool's published fee (OKMINER; others 1 to 4 %)."""
REJECT_FRACTION = 0.0015
"""Pool-side rejects of live units lie between 0.02 and 0.2 %."""
LOST_FRACTION = 0.0003
"""Pool work lost to latency is about delay / 600 s; 0.2 s here (assumed)."""


@dataclass(frozen=True)
class CohortSpec:
    """A set of like miners that are commanded alike.

    Attributes:
        model: catalog name, full or short.
        count: how many miners.
        table: which published preset table, None for the default one.
    """

    model: str
    count: int
    table: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ParamsError(
                explain(f"a cohort of {self.count} miners of {self.model!r}", allowed="1 or more", origin="site")
            )


def tuned_presets(spec: CohortSpec) -> tuple[Preset, ...]:
    """Presets from the lowest up to stock power; overclocked ones are no part of the power tasks."""
    stock_w = electrical(spec.model, spec.table).power_stock_w
    return tuple(p for p in preset_grid(spec.model, spec.table) if p.power_w <= 1.001 * stock_w)


def _fixed_power_w(unit: Electrical, preset: Preset) -> float:
    return float(unit.power_w(np.float64(0.0), volt_v=np.float64(preset.volt_v or 0.0)))


def padded(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Rows of unequal length as a matrix, each padded with its last entry."""
    width = max(len(row) for row in rows)
    return np.array([list(row) + [row[-1]] * (width - len(row)) for row in rows], np.float64)


def fleet_curves(cohorts: Sequence[CohortSpec], *, has_throttle: bool = True) -> FleetCurves:
    """Tabulate a fleet.

    Args:
        cohorts: the M cohorts.
        has_throttle: firmware can throttle (VNish from 1.3.3 on).

    Returns:
        Curves; powers at the wall, at reference temperature.

    Raises:
        ParamsError: no cohort.
        CatalogError: unknown model, or one without an electrical model.
    """
    if not cohorts:
        raise ParamsError(explain("the site has no cohort", allowed="1 or more", fix="Give at least one CohortSpec."))
    units = [electrical(spec.model, spec.table) for spec in cohorts]
    presets = [tuned_presets(spec) for spec in cohorts]
    factor = net_factor(
        1.0 - POOL_FEE_FRACTION,
        dev_fee_fraction=DEV_FEE_FRACTION,
        reject_fraction=REJECT_FRACTION,
        lost_fraction=LOST_FRACTION,
    )
    return FleetCurves(
        models=tuple(unit.model for unit in units),
        count=np.array([float(spec.count) for spec in cohorts]),
        power_rated_w=np.array([row[-1].power_w for row in presets]),
        hashrate_rated_ths=np.array([row[-1].hashrate_ths for row in presets]),
        preset_power_w=padded([[p.power_w for p in row] for row in presets]),
        preset_hashrate_ths=padded([[p.hashrate_ths for p in row] for row in presets]),
        preset_fixed_w=padded(
            [[_fixed_power_w(unit, p) for p in row] for unit, row in zip(units, presets, strict=True)]
        ),
        preset_last=np.array([len(row) - 1.0 for row in presets]),
        net_revenue_factor=np.full(len(units), factor),
        offset=np.arange(len(units)) * max(len(row) for row in presets),
        has_throttle=has_throttle,
    )
