"""A miner in memory behind the bridge's contract, with faults to order, and a clock that jumps to the next waiter."""

from __future__ import annotations

import asyncio
import copy
import enum
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minesim.bridge.miners.miner import (
    Configuration,
    FanMode,
    Identity,
    MinerRefused,
    MinerUnreachable,
    ModelLimits,
    PoolReading,
    Power,
    Preset,
    Reading,
    SetFan,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    State,
    Switcher,
    SwitchPool,
    Write,
    WriteOutcomeUnknown,
)

PRESETS = ("1500", "2000", "2500", "3000")


class FakeClock:
    """Time that passes only while all wait, or by :meth:`advance`."""

    def __init__(self, at_s: float = 1_800_000_000.0) -> None:
        self._wall_s = at_s
        self._steady_s = 0.0
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()
        self._driver: asyncio.Task[None] | None = None

    def now_s(self) -> float:
        return self._wall_s

    def monotonic_s(self) -> float:
        return self._steady_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._wall_s += seconds
        self._steady_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock by some seconds."""
        self._wall_s += seconds

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (self._steady_s + seconds, next(self._count), woken))
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive())
        await woken

    async def _drive(self) -> None:
        """Wake the next waiter whenever nothing else wants to run."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while self._waiters:
            await asyncio.sleep(0)
            if ready:
                continue
            at_s, _, woken = heapq.heappop(self._waiters)
            if not woken.done():
                self.advance(max(at_s - self._steady_s, 0.0))
                woken.set_result(None)


class Fault(enum.Enum):
    """What goes wrong with one write."""

    NONE = "none"
    UNREACHABLE = "not sent"
    LOST_BEFORE = "sent, never arrived, no answer"
    LOST_AFTER = "arrived, no answer"
    REFUSED = "answered with a refusal"
    IGNORED = "accepted, without effect"


@dataclass
class FakeMiner:
    """A miner that mines at preset 2500 and does at once what it is told, unless delayed.

    Attributes:
        clock: its time.
        name: stands for its address.
        settings: dotted path -> value, as the firmware keeps them.
        state, throttle, pool: what it does.
        delay_s: how long a write takes to show.
        answer_s: how long the miner takes to answer a write.
        needs_restart: whether a preset waits for a restart.
        reachable: whether it answers at all.
        faults: what goes wrong with the next writes, first first.
        arrived: writes that the miner got, with the time.
        asked: writes that were asked for, arrived or not.
        before_write, after_write: called around each write; may raise to stand for a crash.
    """

    clock: FakeClock
    name: str = "fake"
    settings: dict[str, Any] = field(
        default_factory=lambda: {
            "miner.overclock.preset": "2500",
            "miner.overclock.preset_switcher.enabled": False,
            "miner.overclock.preset_switcher.top_preset": "3000",
            "miner.cooling.mode": {"name": "auto", "param": 60},
        }
    )
    state: State = State.MINING
    throttle: float | None = 1.0
    pool: int = 0
    paused: bool = False
    delay_s: float = 0.0
    answer_s: float = 0.0
    needs_restart: bool = False
    restart_required: bool = False
    reachable: bool = True
    faults: list[Fault] = field(default_factory=list)
    arrived: list[tuple[float, Write]] = field(default_factory=list)
    asked: list[Write] = field(default_factory=list)
    before_write: Callable[[], None] = lambda: None
    after_write: Callable[[], None] = lambda: None
    _due: list[tuple[float, Write]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.name

    # ------------------------------------------------------------------ by hand

    def by_hand(self, write: Write) -> None:
        """Do what somebody else asked for."""
        self._settle()
        self._effect(write)

    def snapshot(self) -> dict[str, Any]:
        """All that a write can change."""
        self._settle()
        kept = {"settings": self.settings, "throttle": self.throttle, "pool": self.pool, "runs": self._runs()}
        return copy.deepcopy(kept)

    # ------------------------------------------------------------------ MinerPort

    async def identity(self) -> Identity:
        await self._answer()
        return Identity("Antminer S19j Pro", self.name, "", (1, 3, 4), "sha256d")

    async def limits(self) -> ModelLimits:
        await self._answer()
        return ModelLimits(
            has_throttle=self.throttle is not None,
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

    async def presets(self) -> tuple[Preset, ...]:
        await self._answer()
        return tuple(Preset(name, float(name), float(name) / 30.0, True, False) for name in PRESETS)

    async def reading(self) -> Reading:
        await self._answer()
        hashes = self.state is State.MINING and not self.paused
        watts = float(self.settings["miner.overclock.preset"]) if self._has_preset() else 2500.0
        power_w = watts * (1.0 if self.throttle is None else self.throttle)
        return Reading(
            at_s=self.clock.now_s(),
            state=self.state,
            hashrate_ths=power_w / 30.0 if hashes else 0.0,
            power_w=power_w if hashes else 30.0,
            temp_chip_c=65.0,
            temp_board_c=50.0,
            fan_duty=0.5,
            preset=self.settings["miner.overclock.preset"] if self._has_preset() else None,
            throttle=self.throttle,
            pools=tuple(
                PoolReading(number, f"stratum+tcp://pool{number}.test:3333", "worker", status, 10, 0)
                for number in (0, 1)
                for status in ("active" if number == self.pool else "working",)
            ),
            restart_required=self.restart_required,
        )

    async def configuration(self) -> Configuration:
        await self._answer()
        mode = self.settings["miner.cooling.mode"]
        fan_mode = {"auto": FanMode.AUTO, "manual": FanMode.MANUAL, "immersion": FanMode.IMMERSION}[mode["name"]]
        setting = mode.get("param")
        prefix = "miner.overclock.preset_switcher."
        return Configuration(
            preset=self.settings["miner.overclock.preset"] if self._has_preset() else None,
            switcher=Switcher(
                enabled=self.settings[prefix + "enabled"],
                top_preset=self.settings.get(prefix + "top_preset"),
                min_preset=None,
                rise_temp_c=55.0,
                decrease_temp_c=75.0,
            ),
            fan_mode=fan_mode,
            fan_setting=setting / 100.0 if fan_mode is FanMode.MANUAL else setting,
            restart_temp_c=90.0,
            modded_psu=False,
        )

    async def fields(self, paths: tuple[str, ...]) -> dict[str, object]:
        await self._answer()
        return {path: copy.deepcopy(self.settings[path]) for path in paths if path in self.settings}

    async def write(self, write: Write) -> None:
        self.before_write()
        self.asked.append(write)
        await (self.clock.sleep(self.answer_s) if self.answer_s else asyncio.sleep(0))
        fault = self.faults.pop(0) if self.faults else Fault.NONE
        if fault is Fault.UNREACHABLE or not self.reachable:
            raise MinerUnreachable(f"{self.name} does not answer")
        if fault is Fault.LOST_BEFORE:
            raise WriteOutcomeUnknown(f"{self.name} gave no answer")
        if fault is Fault.REFUSED:
            raise MinerRefused(f"{self.name} refused")
        self._settle()
        self._check(write)
        self.arrived.append((self.clock.now_s(), write))
        if fault is not Fault.IGNORED:
            self._due.append((self.clock.monotonic_s() + self.delay_s, write))
            self._due.sort(key=lambda entry: entry[0])
            self._settle()
        self.after_write()
        if fault is Fault.LOST_AFTER:
            raise WriteOutcomeUnknown(f"{self.name} gave no answer")

    # ------------------------------------------------------------------ inside

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if not self.reachable:
            raise MinerUnreachable(f"{self.name} does not answer")
        self._settle()

    def _has_preset(self) -> bool:
        return bool(self.settings["miner.overclock.preset"] != "disabled")

    def _runs(self) -> bool:
        return self.state is not State.STOPPED and not self.paused

    def _check(self, write: Write) -> None:
        """Refuse what the firmware refuses: the wrong pair, or an unknown preset."""
        if isinstance(write, SetPreset) and write.name not in PRESETS:
            raise MinerRefused(f"no preset {write.name}")
        if isinstance(write, SetPower):
            wrong = {
                Power.STOP: self.state is State.STOPPED,
                Power.START: self.state is not State.STOPPED,
                Power.PAUSE: not self._runs(),
                Power.RESUME: not self.paused,
                Power.RESTART: self.state is State.STOPPED,
            }
            if wrong.get(write.command, False):
                raise MinerRefused(f"{self.name} cannot {write.command} now")

    def _settle(self) -> None:
        while self._due and self._due[0][0] <= self.clock.monotonic_s():
            self._effect(self._due.pop(0)[1])

    def _effect(self, write: Write) -> None:
        match write:
            case SetPreset(name, top_preset):
                self.settings["miner.overclock.preset"] = name
                if top_preset is not None:
                    self.settings["miner.overclock.preset_switcher.top_preset"] = top_preset
                self.restart_required = self.needs_restart
            case SetThrottle(share):
                self.throttle = share
            case SetFan(mode, setting):
                percent = round(setting * 100.0) if mode is FanMode.MANUAL and setting is not None else setting
                self.settings["miner.cooling.mode"] = {"name": mode.value, "param": percent}
            case SwitchPool(number):
                self.pool = number
            case SetFields(values):
                self.settings |= copy.deepcopy(dict(values))
                self.restart_required = self.needs_restart
            case SetPower(Power.STOP):
                self.state = State.STOPPED
            case SetPower(Power.PAUSE):
                self.paused = True
            case SetPower(Power.RESUME):
                self.paused = False
            case SetPower():
                self.state, self.paused, self.restart_required = State.MINING, False, False
