"""The fleet as its miners report it: which presets each may use, as the curves that actuate and the envelope read."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minesim.bridge.miners.miner import Configuration, ModelLimits, Preset
from minesim.catalog import electrical, preset_grid
from minesim.control.actuate import OFF_BELOW, ON_ABOVE, FleetCurves
from minesim.control.fleet import CohortSpec, fleet_curves, padded
from minesim.errors import ParamsError, explain

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

STOCK_MARGIN = 1.001
"""A preset up to this much above stock power counts as stock, as in the twin."""
START_MARGIN = 1e-3
"""How far above the switching point an action is kept that asks a miner to run."""


@dataclass(frozen=True)
class Member:
    """A miner's place in the fleet.

    Attributes:
        address: how it is reached; its key everywhere in the bridge.
        cohort: number of its cohort, from 0.
        group: what fails together, e.g. a rack, a container or a breaker.
    """

    address: str
    cohort: int
    group: str


@dataclass(frozen=True)
class MinerFacts:
    """What a miner told about itself; it changes rarely."""

    presets: tuple[Preset, ...]
    configuration: Configuration
    limits: ModelLimits


@dataclass(frozen=True)
class MinerFleet:
    """N miners, simulated one by one, and the M cohorts that a policy knows.

    Attributes:
        members: the N miners.
        cohorts: curves of the M cohorts as the policy was trained with them.
        curves: curves of the N miners, each with a count of 1; what each may use.
        preset_names: firmware's name of each entry of a miner's preset table, (N, presets).
        cohort_of: cohort of each miner, (N,).
        group_of: number of the group of each miner, (N,).
        throttles: which miners can throttle, (N,).
        usable: which miners have told presets of which at least one may be used, (N,).
        top_w: the most that each miner could draw in any preset that it was tuned for, W, (N,).
    """

    members: tuple[Member, ...]
    cohorts: FleetCurves
    curves: FleetCurves
    preset_names: tuple[tuple[str, ...], ...]
    cohort_of: Ints
    group_of: Ints
    throttles: Bools
    usable: Bools
    top_w: Floats

    @property
    def size(self) -> int:
        """Number of miners N."""
        return len(self.members)

    @functools.cached_property
    def index_of(self) -> dict[str, int]:
        """Address -> number of the miner."""
        return {member.address: index for index, member in enumerate(self.members)}

    @functools.cached_property
    def alike(self) -> Bools:
        """Which miners have the lowest preset and the rating of their cohort, (N,)."""
        own, cohort = self.curves.terms, self.cohorts.terms
        return np.asarray(
            (own.lowest_w == cohort.lowest_w[self.cohort_of]) & (own.rated_w == cohort.rated_w[self.cohort_of])
        )

    def preset_index(self, miner: int, name: str, power_w: float) -> int:
        """Entry of a miner's table for a preset; one that is not in it maps to the smallest that reaches its power."""
        names = self.preset_names[miner]
        if name in names:
            return names.index(name)
        last = len(names) - 1
        return min(int(np.count_nonzero(self.curves.preset_power_w[miner, : last + 1] < power_w)), last)

    def miner_actions(self, action: Floats, running: Floats) -> Floats:
        """Turn the actions of cohorts (M,) into actions of miners (N,) that ask for the same power.

        A miner whose presets are those of its cohort takes the cohort's action as it is. Another one takes the action
        at which its own scale, from its lowest preset to its rating, reaches the cohort's target power; it is started
        and stopped by the cohort's action.

        Args:
            action: in [-1, 1], (M,).
            running: 1 where a miner is commanded on, (N,).
        """
        of = self.cohort_of
        own, cohort = self.curves.terms, self.cohorts.terms
        target_w = np.clip(cohort.at_zero_w + cohort.per_action_w * action, cohort.lowest_w, cohort.rated_w)[of]
        scale_w = np.maximum(own.per_action_w, 1e-9)
        starts_above = np.where(running > 0.0, OFF_BELOW, ON_ABOVE)
        mapped = np.clip((target_w - own.at_zero_w) / scale_w, starts_above + START_MARGIN, 1.0)
        as_it_is = self.alike | (action[of] <= starts_above)
        return np.asarray(np.where(as_it_is, action[of], mapped))


def usable_presets(
    presets: Sequence[Preset], stock_w: float, configuration: Configuration | None, ceiling: str | None
) -> tuple[Preset, ...]:
    """Presets that the bridge may choose for a miner, by rising power.

    Tuned on this unit, without a modified supply, up to stock power, not above the operator's ``ceiling``, and not
    below the lowest preset of a switcher that is on.

    Args:
        presets: as the miner told them.
        stock_w: stock wall power of its model, W.
        configuration: of the miner.
        ceiling: name of the highest preset that the operator allows, None for no such limit.
    """
    power_w = {preset.name: preset.power_w for preset in presets}
    highest_w = min(STOCK_MARGIN * stock_w, power_w.get(ceiling, np.inf) if ceiling else np.inf)
    lowest_w = 0.0
    if configuration is not None and configuration.switcher.enabled and configuration.switcher.min_preset:
        lowest_w = power_w.get(configuration.switcher.min_preset, 0.0)
    chosen = (p for p in presets if p.tuned and not p.modded_psu and lowest_w <= p.power_w <= highest_w)
    return tuple(sorted(chosen, key=lambda preset: preset.power_w))


@functools.lru_cache(maxsize=4096)
def fixed_power_w(model: str, table: str | None, power_w: float) -> float:
    """Part of a preset's wall power that a throttle leaves alone (leakage, fans, control board), from the catalog, W.

    Outside the catalog's curve the share at its nearest end holds.
    """
    unit = electrical(model, table)
    low_w, high_w = float(unit.power_w(unit.freq_min_mhz)), float(unit.power_w(unit.freq_max_mhz))
    inside_w = min(max(power_w, low_w), high_w)
    volt_v = np.float64(unit.rail_volt_v(unit.freq_at_power_mhz(inside_w)))
    return float(unit.power_w(np.float64(0.0), volt_v=volt_v)) * (power_w / inside_w)


@functools.lru_cache(maxsize=4096)
def model_hashrate_ths(model: str, table: str | None, power_w: float) -> float:
    """Hashrate of the catalog's model at a wall power, TH/s; in proportion outside its curve."""
    unit = electrical(model, table)
    low_w, high_w = float(unit.power_w(unit.freq_min_mhz)), float(unit.power_w(unit.freq_max_mhz))
    inside_w = min(max(power_w, low_w), high_w)
    return float(unit.hashrate_ths(unit.freq_at_power_mhz(inside_w))) * (power_w / inside_w)


def miner_fleet(
    members: Sequence[Member],
    cohorts: Sequence[CohortSpec],
    facts: Mapping[str, MinerFacts],
    ceilings: Mapping[str, str] | None = None,
) -> MinerFleet:
    """Lay the fleet out from what its miners told.

    Args:
        members: the miners.
        cohorts: model and table of each cohort, as the policy knows them.
        facts: what each miner told, by address; a miner that has told nothing yet stands there with the catalog's
            presets and may not be used.
        ceilings: highest preset that the operator allows, by address.

    Raises:
        ParamsError: no miner, or a miner of a cohort that does not exist.
        CatalogError: a model is unknown.
    """
    if not members:
        raise ParamsError(explain("the fleet has no miner", allowed="1 or more", origin="inventory"))
    for member in members:
        if not 0 <= member.cohort < len(cohorts):
            raise ParamsError(
                explain(f"miner {member.address} is in cohort {member.cohort}", allowed=f"0 to {len(cohorts) - 1}")
            )
    trained = fleet_curves(cohorts)
    tables = [_table(member, cohorts, trained, facts.get(member.address), ceilings or {}) for member in members]
    width = max(len(table.presets) for table in tables)
    of = np.array([member.cohort for member in members], np.int64)
    groups = {name: number for number, name in enumerate(dict.fromkeys(member.group for member in members))}
    return MinerFleet(
        members=tuple(members),
        cohorts=trained,
        curves=FleetCurves(
            models=tuple(trained.models[cohort] for cohort in of),
            count=np.ones(len(members)),
            power_rated_w=np.array([table.presets[-1].power_w for table in tables]),
            hashrate_rated_ths=np.array([table.hashrate_ths[-1] for table in tables]),
            preset_power_w=padded([[preset.power_w for preset in table.presets] for table in tables]),
            preset_hashrate_ths=padded([table.hashrate_ths for table in tables]),
            preset_fixed_w=padded([table.fixed_w for table in tables]),
            preset_last=np.array([len(table.presets) - 1.0 for table in tables]),
            net_revenue_factor=trained.net_revenue_factor[of],
            offset=np.arange(len(members)) * width,
        ),
        preset_names=tuple(tuple(preset.name for preset in table.presets) for table in tables),
        cohort_of=of,
        group_of=np.array([groups[member.group] for member in members], np.int64),
        throttles=np.array([table.throttles for table in tables], bool),
        usable=np.array([table.usable for table in tables], bool),
        top_w=np.array([table.top_w for table in tables]),
    )


@dataclass(frozen=True)
class _Table:
    presets: tuple[Preset, ...]
    hashrate_ths: list[float]
    fixed_w: list[float]
    throttles: bool
    usable: bool
    top_w: float


def _table(
    member: Member,
    cohorts: Sequence[CohortSpec],
    trained: FleetCurves,
    facts: MinerFacts | None,
    ceilings: Mapping[str, str],
) -> _Table:
    spec = cohorts[member.cohort]
    stock_w = float(trained.power_rated_w[member.cohort])
    told = () if facts is None else facts.presets
    configuration = None if facts is None else facts.configuration
    chosen = usable_presets(told, stock_w, configuration, ceilings.get(member.address))
    grid = preset_grid(spec.model, spec.table)
    could_w = [p.power_w for p in told if p.tuned] or [p.power_w for p in grid]
    presets = chosen or tuple(
        Preset(p.name, p.power_w, p.hashrate_ths, tuned=False, modded_psu=False)
        for p in grid
        if p.power_w <= STOCK_MARGIN * stock_w
    )
    return _Table(
        presets=presets,
        hashrate_ths=[p.hashrate_ths or model_hashrate_ths(spec.model, spec.table, p.power_w) for p in presets],
        fixed_w=[fixed_power_w(spec.model, spec.table, p.power_w) for p in presets],
        throttles=facts is not None and facts.limits.has_throttle,
        usable=bool(chosen),
        top_w=max(could_w),
    )
