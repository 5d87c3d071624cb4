"""Before the bridge may act on its own: does each miner have its own net, and can it do without the bridge?

The bridge is not what keeps a miner from burning: its firmware is. So the firmware must stop by itself when it is hot,
and a person must be able to start a miner that the bridge stopped, while the bridge is away.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from minesim.bridge.miners.fleet import MinerFacts, usable_presets
from minesim.bridge.miners.miner import Identity
from minesim.catalog import canonical_name
from minesim.control.envelope import Limits
from minesim.control.fleet import CohortSpec, tuned_presets
from minesim.errors import CatalogError

RESTART_TEMP_MAX_C: Final = 90.0
"""VNish's default; its embedded limits call 90 C dangerous for a chip."""
FIRMWARE_MIN: Final = (1, 2)
FIRMWARE_KNOWN: Final = (1, 3)
"""The interface is known for 1.2.x and 1.3.x."""

STAYS_STOPPED: Final = (
    "miner.misc.remain_stopped_on_reboot",
    "miner.misc.restore_miner_state_on_reboot",
    "miner.misc.automatic_pause_on_boot",
)
"""Settings (1.2.x the first, 1.3.x the others) with which a stopped miner stays stopped after a power cut."""
SENSORS_IGNORED: Final = ("miner.misc.ignore_broken_sensors", "miner.misc.ignore_chip_sensors")
FIELDS: Final = (*STAYS_STOPPED, *SENSORS_IGNORED)
"""Settings that :func:`preflight` looks at, to be read with :meth:`minesim.bridge.miners.miner.MinerPort.fields`."""

_BIN = re.compile(r"\s*\([^)]*\)\s*$")


class Severity(enum.StrEnum):
    """Whether a finding forbids automatic operation of its miner."""

    BLOCKING = "blocking"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        address: of the miner.
        severity: see :class:`Severity`.
        kind: short name, the same for all miners.
        sentence: what it is and what to do.
    """

    address: str
    severity: Severity
    kind: str
    sentence: str


def preflight(
    address: str,
    spec: CohortSpec,
    identity: Identity,
    facts: MinerFacts,
    fields: Mapping[str, object],
    bounds: Limits,
) -> tuple[Finding, ...]:
    """Look at one miner before it may be operated automatically.

    Args:
        address: of the miner.
        spec: its cohort in the inventory.
        identity, facts: what it told about itself.
        fields: values of :data:`FIELDS`; those that its firmware does not have are left out.
        bounds: limits of the bridge.

    Returns:
        Findings, blocking ones first.
    """
    found = [
        Finding(address, severity, kind, sentence)
        for severity, kind, sentence in (
            *_of_identity(spec, identity),
            *_of_net(facts, fields, bounds),
            *_of_presets(spec, facts),
            *_of_restart(fields),
        )
    ]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.BLOCKING))


def blocked(findings: Iterable[Finding]) -> frozenset[str]:
    """Addresses that may not be operated automatically."""
    return frozenset(finding.address for finding in findings if finding.severity is Severity.BLOCKING)


_Told = tuple[Severity, str, str]


def _of_identity(spec: CohortSpec, identity: Identity) -> list[_Told]:
    version = ".".join(map(str, identity.firmware_version)) or "unknown"
    told: list[_Told] = []
    if identity.firmware_version < FIRMWARE_MIN:
        sentence = f"Firmware {version} is too old: the interface is known from 1.2 on. Update it."
        told.append((Severity.BLOCKING, "firmware", sentence))
    elif identity.firmware_version[:2] > FIRMWARE_KNOWN:
        sentence = f"Firmware {version} is newer than any that the bridge was made for (1.2, 1.3). Watch it in shadow."
        told.append((Severity.WARNING, "firmware", sentence))
    try:
        real = canonical_name(identity.model)
    except CatalogError:
        sentence = f"The miner calls itself {identity.model!r}, which the catalog does not know; is it {spec.model!r}?"
        told.append((Severity.WARNING, "model", sentence))
        return told
    if _BIN.sub("", real) != _BIN.sub("", canonical_name(spec.model)):
        sentence = f"The miner is a {real!r}, but the inventory lists it as {spec.model!r}. Correct the inventory."
        told.append((Severity.BLOCKING, "model", sentence))
    return told


def _of_net(facts: MinerFacts, fields: Mapping[str, object], bounds: Limits) -> list[_Told]:
    restart_c, switcher = facts.configuration.restart_temp_c, facts.configuration.switcher
    told: list[_Told] = []
    stops = restart_c is not None and 0.0 < restart_c <= RESTART_TEMP_MAX_C
    steps_down = switcher.enabled and 0.0 < switcher.decrease_temp_c <= RESTART_TEMP_MAX_C
    if not stops and not steps_down:
        has = "not told" if restart_c is None else f"{restart_c:g} C"
        sentence = (
            f"It has no net of its own: restart_temp is {has} and the preset switcher does not step down by "
            f"{RESTART_TEMP_MAX_C:g} C. Set restart_temp to {RESTART_TEMP_MAX_C:g} C or less."
        )
        told.append((Severity.BLOCKING, "net", sentence))
    elif stops and restart_c is not None and restart_c < bounds.temp_chip_hard_c:
        sentence = f"It stops by itself at {restart_c:g} C, before the bridge would at {bounds.temp_chip_hard_c:g} C."
        told.append((Severity.WARNING, "net", sentence))
    for name in SENSORS_IGNORED:
        if fields.get(name) is True:
            sentence = f"{name.rpartition('.')[2]} is on: it may run hot without noticing. Switch it off."
            told.append((Severity.WARNING, "sensors", sentence))
    return told


def _of_presets(spec: CohortSpec, facts: MinerFacts) -> list[_Told]:
    if facts.configuration.preset is None:
        sentence = "Voltage and clocks are set by hand (manual mode). Choose a preset on the miner's page first."
        return [(Severity.BLOCKING, "manual mode", sentence)]
    stock_w = tuned_presets(spec)[-1].power_w
    usable = usable_presets(facts.presets, stock_w, facts.configuration, facts.configuration.switcher.top_preset)
    told: list[_Told] = []
    if not usable:
        sentence = f"None of its {len(facts.presets)} presets is tuned and up to {stock_w:.0f} W. Tune some."
        told.append((Severity.BLOCKING, "presets", sentence))
    elif len(usable) == 1:
        sentence = f"Only preset {usable[0].name} may be used, so it can be stopped but not turned down. Tune more."
        told.append((Severity.WARNING, "presets", sentence))
    names = {preset.name for preset in usable}
    if usable and facts.configuration.preset not in names:
        sentence = (
            f"It runs preset {facts.configuration.preset!r}, which the bridge may not use (untuned, for a modified "
            f"supply, above stock or above its top preset); the first decision moves it."
        )
        told.append((Severity.WARNING, "presets", sentence))
    if not facts.limits.has_throttle:
        sentence = "Its firmware cannot throttle (it can from 1.3.3 on); power comes off by presets, in minutes."
        told.append((Severity.WARNING, "throttle", sentence))
    return told


def _of_restart(fields: Mapping[str, object]) -> list[_Told]:
    told: list[_Told] = []
    for name in STAYS_STOPPED:
        if fields.get(name) is True:
            sentence = (
                f"{name.rpartition('.')[2]} is on: a miner that the bridge stopped would stay stopped through a power "
                "cut and a reboot. Switch it off, so that anybody can bring it back without the bridge."
            )
            told.append((Severity.BLOCKING, "restart", sentence))
    if not any(name in fields for name in STAYS_STOPPED):
        sentence = "It does not tell whether a stopped miner comes back after a reboot. Try it by hand."
        told.append((Severity.WARNING, "restart", sentence))
    return told
