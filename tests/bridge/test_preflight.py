"""What a miner must have of its own before the bridge may act on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from minesim.bridge.miners.fleet import MinerFacts
from minesim.bridge.miners.miner import Identity
from minesim.bridge.miners.preflight import Severity, blocked, preflight
from minesim.control.envelope import limits
from minesim.control.fleet import CohortSpec
from tests.bridge.stand_in import OFF, configured, facts_of

MODEL = "Antminer S19j Pro (100T)"
SPEC = CohortSpec(MODEL, 1)
WHO = Identity("Antminer S19j Pro", "SN1", "aa:bb:cc:dd:ee:ff", (1, 3, 4), "sha256d")
FIELDS: dict[str, object] = {
    "miner.misc.restore_miner_state_on_reboot": False,
    "miner.misc.automatic_pause_on_boot": False,
}
FACTS = facts_of(MODEL)
TOP = FACTS.presets[-1].name


def look(
    facts: MinerFacts = FACTS, identity: Identity = WHO, fields: dict[str, object] = FIELDS
) -> dict[str, Severity]:
    found = preflight("10.0.0.1", SPEC, identity, facts, fields, limits("bridge"))
    assert all(finding.sentence.endswith((".", "?")) for finding in found)
    return {finding.kind: finding.severity for finding in found}


def with_net(restart_c: float | None, **switcher: object) -> MinerFacts:
    return replace(FACTS, configuration=replace(configured(TOP, replace(OFF, **switcher)), restart_temp_c=restart_c))


def test_a_sound_miner_has_no_findings() -> None:
    assert look() == {}


@pytest.mark.parametrize("restart_c", [None, 0.0, 95.0, 120.0])
def test_no_net_of_its_own_blocks_unless_the_switcher_is_one(restart_c: float | None) -> None:
    assert look(with_net(restart_c)) == {"net": Severity.BLOCKING}
    assert look(with_net(restart_c, enabled=True, decrease_temp_c=95.0)) == {"net": Severity.BLOCKING}
    assert look(with_net(restart_c, enabled=True, decrease_temp_c=84.0)) == {}


def test_a_firmware_that_stops_before_the_bridge_is_told() -> None:
    assert look(with_net(80.0)) == {"net": Severity.WARNING}


@pytest.mark.parametrize(
    ("version", "severity"), [((1, 1, 9), "blocking"), ((), "blocking"), ((1, 4, 0), "warning"), ((2, 0), "warning")]
)
def test_firmware_that_is_not_known(version: tuple[int, ...], severity: str) -> None:
    assert look(identity=replace(WHO, firmware_version=version)) == {"firmware": Severity(severity)}


def test_another_model_than_the_inventory_says() -> None:
    assert look(identity=replace(WHO, model="Antminer S19 XP")) == {"model": Severity.BLOCKING}
    assert look(identity=replace(WHO, model="Antminer Z99")) == {"model": Severity.WARNING}


def test_manual_mode_and_missing_presets_block() -> None:
    assert look(replace(FACTS, configuration=configured(None))) == {"manual mode": Severity.BLOCKING}
    untuned = tuple(replace(preset, tuned=False) for preset in FACTS.presets)
    assert look(replace(FACTS, presets=untuned)) == {"presets": Severity.BLOCKING}
    only = replace(FACTS, presets=FACTS.presets[-1:])
    assert look(only) == {"presets": Severity.WARNING}
    assert look(replace(FACTS, configuration=configured("3500"))) == {"presets": Severity.WARNING}


@pytest.mark.parametrize(
    "name", ["remain_stopped_on_reboot", "restore_miner_state_on_reboot", "automatic_pause_on_boot"]
)
def test_a_miner_that_would_stay_stopped_without_the_bridge_is_blocked(name: str) -> None:
    found = preflight("10.0.0.1", SPEC, WHO, FACTS, FIELDS | {f"miner.misc.{name}": True}, limits("bridge"))
    assert blocked(found) == {"10.0.0.1"}
    assert name in found[0].sentence


def test_what_is_not_told_or_weak_is_a_warning() -> None:
    assert look(fields={}) == {"restart": Severity.WARNING}
    assert look(fields=FIELDS | {"miner.misc.ignore_chip_sensors": True}) == {"sensors": Severity.WARNING}
    assert look(replace(FACTS, limits=replace(FACTS.limits, has_throttle=False))) == {"throttle": Severity.WARNING}
