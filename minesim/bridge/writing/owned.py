"""What the bridge has made of a miner, and how its writes change that.

Ownership decides what may be undone: only a halt of the bridge's own is followed by a start, only a preset that is
neither confirmed nor asked for counts as changed by hand.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from minesim.bridge.miners.miner import Power, SetFields, SetPower, SetPreset, Write

PAIR: Final[Mapping[Power, Power]] = {Power.STOP: Power.START, Power.PAUSE: Power.RESUME}
"""What undoes a halt; the firmware refuses the other pairing."""

LATE_S: Final = 600.0
"""How long a write that was not confirmed may still arrive, and so is not taken for somebody else's (assumed)."""


class Held(enum.StrEnum):
    """Why a miner is left alone until a person releases it."""

    CHANGED_BY_HAND = "changed by hand"
    MANUAL_MODE = "manual mode"


@dataclass(frozen=True)
class Owned:
    """What the bridge has made of a miner; kept in the journal.

    Attributes:
        preset, top_preset: configured preset, and ceiling of an enabled switcher, as last confirmed or first found.
        halted_by: the command with which the bridge halted it; None where it did not.
        halt_confirmed: whether that halt was read back.
        undone_at_s: when a halt was last found undone, s since 1970 UTC.
        restart_owed_at_s: when the bridge last wrote a setting that may need a restart; None once none is needed.
        held, held_detail: why it is left alone, and what was found.
    """

    preset: str | None = None
    top_preset: str | None = None
    halted_by: Power | None = None
    halt_confirmed: bool = False
    undone_at_s: float | None = None
    restart_owed_at_s: float | None = None
    held: Held | None = None
    held_detail: str = ""


@dataclass(frozen=True)
class Known:
    """What the journal knows of a miner.

    Attributes:
        owned: see :class:`Owned`.
        pending: the write that is not read back yet.
        asked: writes of the last :data:`LATE_S` that were neither confirmed nor refused; they may still arrive.
    """

    owned: Owned = Owned()
    pending: Write | None = None
    asked: tuple[Write, ...] = ()


def is_halt(write: Write) -> bool:
    """Tell whether a write makes a miner stand."""
    return isinstance(write, SetPower) and write.command in PAIR


def after_intent(owned: Owned, write: Write, at_s: float) -> Owned:
    """What is owned once a write may go out.

    A halt is owned from here on: if the bridge dies before it knows the outcome, it may still start the miner again.
    """
    match write:
        case SetPower(command) if command in PAIR:
            return replace(owned, halted_by=command, halt_confirmed=False)
        case SetPreset():
            return replace(owned, restart_owed_at_s=at_s)
        case SetFields():
            return replace(owned, preset=None, top_preset=None, restart_owed_at_s=at_s)
        case _:
            return owned


def after_done(owned: Owned, write: Write) -> Owned:
    """What is owned once a write was read back."""
    match write:
        case SetPreset(name, top_preset):
            return replace(owned, preset=name, top_preset=top_preset)
        case SetPower(command) if command in PAIR:
            return replace(owned, halted_by=command, halt_confirmed=True)
        case SetPower(Power.START | Power.RESUME):
            return replace(owned, halted_by=None, halt_confirmed=False, restart_owed_at_s=None)
        case SetPower():
            return replace(owned, restart_owed_at_s=None)
        case _:
            return owned


def after_refusal(owned: Owned, write: Write) -> Owned:
    """What is owned once it is certain that a write did not happen: not sent, or answered with a refusal."""
    return replace(owned, halted_by=None, halt_confirmed=False) if is_halt(write) else owned
