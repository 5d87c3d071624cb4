"""Miners for the decider's tests: presets from the catalog, answers made of the twin's telemetry or by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from minesim.bridge.deciding.readings import MinerNow
from minesim.bridge.miners.fleet import Member, MinerFacts
from minesim.bridge.miners.miner import Configuration, FanMode, ModelLimits, Preset, Reading, State, Switcher
from minesim.bridge.writing.plan import Desired
from minesim.control.fleet import CohortSpec, tuned_presets

LIMITS = ModelLimits(
    has_throttle=True,
    volt_min_v=12.0,
    volt_max_v=15.0,
    freq_min_mhz=50.0,
    freq_max_mhz=1000.0,
    fan_duty_min=0.1,
    temp_target_min_c=20.0,
    temp_target_max_c=90.0,
    power_max_w=None,
    power_metered=False,
)
OFF = Switcher(enabled=False, top_preset=None, min_preset=None, rise_temp_c=55.0, decrease_temp_c=75.0)


def presets_of(model: str) -> tuple[Preset, ...]:
    """The catalog's presets as a miner would tell them."""
    return tuple(
        Preset(p.name, p.power_w, p.hashrate_ths, tuned=True, modded_psu=False)
        for p in tuned_presets(CohortSpec(model, 1))
    )


def configured(preset: str | None, switcher: Switcher = OFF) -> Configuration:
    return Configuration(preset, switcher, FanMode.AUTO, 70.0, 90.0, modded_psu=False)


def facts_of(model: str, *, has_throttle: bool = True, switcher: Switcher = OFF) -> MinerFacts:
    presets = presets_of(model)
    return MinerFacts(presets, configured(presets[-1].name, switcher), replace(LIMITS, has_throttle=has_throttle))


def members_of(models: Sequence[str], cohort_of: Sequence[int] | None = None) -> tuple[Member, ...]:
    """One miner a model, each in a cohort of its own unless said otherwise."""
    cohorts = range(len(models)) if cohort_of is None else cohort_of
    return tuple(Member(f"10.0.0.{i + 1}", cohort, f"rack-{cohort}") for i, cohort in enumerate(cohorts))


def a_reading(at_s: float, **told: object) -> Reading:
    """A healthy mining miner, changed as told."""
    healthy = Reading(at_s, State.MINING, 104.0, 3068.0, 70.0, 55.0, 0.5, throttle=1.0)
    return replace(healthy, **told)


def obeys(desired: Desired, before: Configuration, throttle: float) -> tuple[Configuration, float]:
    """Configuration and throttle of a miner after it did what it was told."""
    preset = before.preset if desired.preset is None else desired.preset
    return replace(before, preset=preset), throttle if desired.throttle is None else desired.throttle


def everyone(addresses: Sequence[str], reading: Reading, facts: Mapping[str, MinerFacts]) -> dict[str, MinerNow]:
    return {address: MinerNow(reading, facts[address].configuration) for address in addresses}
