"""The judge of a run of chaos: sees what the miners received and what they are, not what the bridge says about itself.

Each rule names what the envelope could know. A miner that a person changed while it did not answer, or whose readings
stand still, is judged by what it told last: no envelope can know more.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from minesim.arrays import NUMPY
from minesim.bridge.miners.miner import SetPower, SetPreset, SetThrottle, Write
from minesim.bridge.writing.journal import Reader
from minesim.bridge.writing.journal_records import Intent, encode_write
from minesim.control.actuate import command_power_w
from minesim.control.envelope import Limits
from minesim.emulator.emulator import Emulator
from minesim.emulator.faults import MACHINE, WRITES, FaultKind
from minesim.emulator.http import Delivery, Request
from minesim.emulator.miner import MINING_MODE
from minesim.emulator.settings import leaves
from minesim.emulator.twin import BOOTING, MINING
from minesim.physics.firmware import FirmwareCommand

API: Final = "/api/v1"
ALLOWED_WRITES: Final = frozenset(
    {
        "POST /settings",
        "POST /mining/throttle",
        "POST /mining/start",
        "POST /mining/stop",
        "POST /mining/pause",
        "POST /mining/resume",
        "POST /mining/restart",
    }
)
"""All that a bridge which follows a policy may ask for (no fans, pools or reboots)."""
ALLOWED_FIELDS: Final = frozenset({"miner.overclock.preset", "miner.overclock.preset_switcher.top_preset"})
HALTS: Final = frozenset({"POST /mining/stop", "POST /mining/pause"})
STARTS: Final = frozenset({"POST /mining/start", "POST /mining/resume"})
THROTTLE: Final = "POST /mining/throttle"
STALE_S: Final = 60.0
NEIGHBOUR_S: Final = 1800.0
OVER_CAP_S: Final = 900.0
"""Above its cap for longer than this is a violation, while miners that can be written to run: shedding waits for what
was asked to come down already, and a change of preset takes minutes."""
SHOWS_S: Final = 360.0
"""A start that has not shown in the readings so long after it counts as none: what runs then is stopped again for the
halt that stands."""
BOOT_S: Final = 900.0
"""A miner mines, and takes a throttle, at the latest so long after its start."""
CALM_S: Final = 900.0
"""A miner counts as one that can be written to when nothing was wrong with it for so long."""
HOT_CYCLES: Final = 2
THROTTLE_STEP: Final = 0.005
"""Half of the step in which miners tell and take a throttle: what lies within is rounding, not a rise."""
SLACK: Final = 1.0 + 1e-6
LATE_S: Final = 120.0
"""A move that goes out so long after its decision counts from the decision."""


class Violation(AssertionError):
    """A limit that the envelope could have kept was not kept."""


@dataclass
class Rise:
    """Power that a write of the bridge added, W."""

    at_s: float
    miner: int
    size_w: float
    cycle: int
    started: bool = False


@dataclass
class Judge:
    """Watches the requests and the twin of a fleet.

    Attributes:
        emulator: the fleet.
        bounds: limits in force.
        groups: group of each miner.
        may_write: false in shadow mode.
        journal: looks into the bridge's journal; None while no process of the bridge lives.
        cap_w: present cap, W.
        counts: writes received, by method and path.
        worst: worst values by name, with their limits.
        story: what happened lately, in words.
    """

    emulator: Emulator
    bounds: Limits
    groups: Sequence[str]
    may_write: bool = True
    journal: Reader | None = None
    cap_w: float = np.inf
    counts: Counter[str] = field(default_factory=Counter)
    worst: dict[str, tuple[float, float]] = field(default_factory=dict)
    story: deque[str] = field(default_factory=lambda: deque(maxlen=4000))

    def __post_init__(self) -> None:
        emulator = self.emulator
        size = len(emulator.miners)
        self.curves = emulator.twin.params.curves
        self.rated_site_w = float(self.curves.power_rated_site_w)
        self.top_w = self.commands_w().copy()
        self.known_w = self.top_w.copy()
        self.heard_s: list[dict[str, float]] = [{} for _ in range(size)]
        self.calm_since_s = np.full(size, -np.inf)
        self.writable_since_s = np.full(size, -np.inf)
        self.bridge_since_s = 0.0
        self.journal_since_s = 0.0
        self.paused: set[int] = set()
        self.site_paused = False
        self.by_hand: set[int] = set()
        self.rises: list[Rise] = []
        # A move down may dip below its end: what counts as a rise is power above all that the move had before.
        self.move: dict[int, tuple[int | None, float]] = {}
        self.used: set[int] = set()
        # Writes without effect, by miner and endpoint, with the cycle that first asked for them.
        self.unheeded: dict[tuple[int, str], tuple[Write, int]] = {}
        self.first: dict[tuple[int, str], Any] = {}
        self.stops: Counter[tuple[int, int]] = Counter()
        self.day_count, self._local_day = 0, -1.0
        self.halted: set[int] = set()
        self.started_s: dict[int, float] = {}
        self.hot = np.zeros(size, int)
        self.over_since_s: float | None = None
        self._answer = emulator.answer

    # ------------------------------------------------------------------ the truth

    @property
    def now_s(self) -> float:
        return self.emulator.elapsed_s

    def commands_w(self) -> np.ndarray:
        """Power that each miner is set to, W."""
        twin = self.emulator.twin
        return np.asarray(command_power_w(FirmwareCommand(twin.run, twin.preset, twin.throttle), self.curves, xp=NUMPY))

    def tell(self, text: str) -> None:
        """Note an event for the story."""
        self.story.append(f"{self.now_s / 60.0:8.0f} min  {text}")

    def fail(self, what: str, *miners: int) -> None:
        """Raise a violation with the story of the miners and of the site."""
        marks = [f"miner {miner} " for miner in miners]
        lines = [line for line in self.story if "miner " not in line or any(mark in f"{line} " for mark in marks)]
        raise Violation("\n".join([f"after {self.now_s / 60.0:.0f} min: {what}", *lines[-60:]]))

    def _worst(self, name: str, value: float, limit: float, *, low: bool = False) -> None:
        had = self.worst.get(name, (np.inf if low else -np.inf, limit))
        if (value < had[0]) if low else (value > had[0]):
            self.worst[name] = (value, limit)

    # ------------------------------------------------------------------ requests

    def answer(self, index: int, request: Request) -> Delivery:
        """Answer in the emulator's place, and look at what it does."""
        path = request.path.removeprefix(API)
        if request.method == "GET" or path == "/unlock":
            delivery = self._answer(index, request)
            if request.method == "GET" and self._whole(index, path, delivery):
                self.heard_s[index][path] = self.now_s
                if path == "/summary" and not self._on(index, FaultKind.STALE):
                    self.known_w[index] = self.commands_w()[index]
                    if self.known_w[index] > 0.0 and self.now_s - self.started_s.get(index, -np.inf) <= SHOWS_S:
                        self.halted.discard(index)
            return delivery
        return self._write(index, request, f"{request.method} {path}")

    def _write(self, index: int, request: Request, what: str) -> Delivery:
        self._note_first(index, request, what)
        before_w = self.commands_w()
        dangerous = self.emulator.miners[index].dangerous.total()
        delivery = self._answer(index, request)
        after_w = self.commands_w()
        status = "none" if delivery.reply is None else str(delivery.reply.status)
        body = request.body.decode()[:120]
        self.tell(f"miner {index} got {what} {body} -> {status}, {before_w[index]:.0f} to {after_w[index]:.0f} W")
        self.counts[what] += 1
        if not self.may_write:
            self.fail(f"miner {index} was written to in shadow mode: {what}", index)
        if what not in ALLOWED_WRITES:
            self.fail(f"miner {index} was asked for {what}, which no policy needs", index)
        if self.emulator.miners[index].dangerous.total() > dangerous:
            self.fail(f"miner {index} got a dangerous call: {what}", index)
        intent = self._intent(index, what, status)
        # A stop that the miner refused is none; one whose answer was lost may have been one.
        if what in HALTS and (delivery.reply is None or after_w[index] < before_w[index]):
            self._judge_stop(index, intent)
        if what in STARTS:
            self.started_s[index] = self.now_s
        cycle = None if intent is None else intent.cycle
        moved, highest_w = self.move.get(index, (None, 0.0))
        highest_w = float(highest_w if moved == cycle else before_w[index])
        if after_w[index] > highest_w + THROTTLE_STEP * self.curves.power_rated_w[index]:
            self._judge_rise(index, float(after_w[index]) - highest_w, after_w, intent, what=what)
        self._note_unheeded(
            index, intent, what, took=bool(after_w[index] != before_w[index]) or not self._on(index, *WRITES)
        )
        self.move[index] = (cycle, max(highest_w, float(after_w[index])))
        if delivery.reply is not None and delivery.reply.status < 300:
            self.known_w[index] = after_w[index]
        return delivery

    def _note_first(self, index: int, request: Request, what: str) -> None:
        """Values before the bridge's first write to them."""
        miner = self.emulator.miners[index]
        if what == "POST /settings":
            for names, _ in leaves(request.record()):
                path = ".".join(names)
                if path not in ALLOWED_FIELDS:
                    self.fail(f"miner {index}: the setting {path} was written, which no policy needs", index)
                self.first.setdefault((index, path), _setting(miner.settings, path))
        elif what == "POST /mining/throttle":
            self.first.setdefault((index, "throttle"), miner.throttle_pct)

    def _intent(self, index: int, what: str, status: str) -> Intent | None:
        """The intent that a write belongs to: its own, journaled before it went out."""
        if self.journal is None:
            self.fail(f"miner {index} was written to by a process that should be dead: {what}", index)
            return None
        intents = [i for i in self.journal.open_intents(self.emulator.hosts[index]) if _request_of(i.write) == what]
        if not intents:
            self.fail(f"miner {index}: {what} went out without an open intent of its own", index)
        intent = intents[-1]
        if status == "401":  # nothing happened; the client may log in and ask once more
            return intent
        if intent.id in self.used:
            self.fail(f"miner {index}: {encode_write(intent.write)} went out twice for intent {intent.id}", index)
        self.used.add(intent.id)
        return intent

    def _judge_stop(self, index: int, intent: Intent | None) -> None:
        """Stops that a policy asks for have a budget of the local day; heat and the cap are not bound by it."""
        assert intent is not None
        told = " ".join(intent.reasons)
        used = self.stops[(index, self.day_count)]
        self.stops[(index, self.day_count)] += 1
        # One that came back by itself, after a power cut say, is stopped again for the command that stands.
        again = index in self.halted
        self.halted.add(index)
        if again or "hard limit" in told or "over its cap" in told or "cooled" in told:
            return
        self._worst("stops of a miner a day that a policy asked for", used + 1, self.bounds.stops_per_day)
        if used >= self.bounds.stops_per_day:
            self.fail(f"miner {index} was stopped for the policy after {used} stops of the day", index)

    def _first_asked(self, index: int, intent: Intent, what: str) -> int:
        """Cycle that first asked for a write which the miner did not heed then: asked again, it is no new command."""
        write, cycle = self.unheeded.get((index, what), (None, intent.cycle))
        return cycle if write == intent.write else intent.cycle

    def _note_unheeded(self, index: int, intent: Intent | None, what: str, *, took: bool) -> None:
        if took or intent is None:
            self.unheeded.pop((index, what), None)
        else:
            self.unheeded[(index, what)] = (intent.write, self._first_asked(index, intent, what))

    def _judge_rise(self, index: int, size_w: float, after_w: np.ndarray, intent: Intent | None, *, what: str) -> None:
        now_s, cycle = self.now_s, -1 if intent is None else intent.cycle
        one_command = {cycle} if intent is None else {cycle, self._first_asked(index, intent, what)}
        mine = [rise for rise in self.rises if rise.miner == index]
        # A miner is started with the throttle that it has; its own follows when it mines, for the same command.
        if mine and mine[-1].started and what == THROTTLE and now_s - mine[-1].at_s < BOOT_S:
            one_command.add(mine[-1].cycle)
        age_s = now_s - self._heard(index)
        self._worst("s since a miner was heard when it rose", age_s, STALE_S)
        if age_s > STALE_S:
            self.fail(f"miner {index} rose by {size_w:.0f} W, but was not heard for {age_s:.0f} s", index)
        for other, group in enumerate(self.groups):
            lost_s = now_s - self._heard(other)
            if other != index and group == self.groups[index] and STALE_S < lost_s < NEIGHBOUR_S - STALE_S:
                self.fail(
                    f"miner {index} rose by {size_w:.0f} W, but its neighbour {other} was not heard for {lost_s:.0f} s",
                    index,
                )
        earlier = [rise for rise in self.rises if rise.miner == index and rise.cycle not in one_command]
        if earlier:
            dwell_s = now_s - earlier[-1].at_s
            self._worst("s between two rises of a miner", dwell_s, self.bounds.dwell_up_s, low=True)
            if dwell_s < self.bounds.dwell_up_s - LATE_S:
                self.fail(f"miner {index} rose {dwell_s:.0f} s after it had risen", index)
        self.rises = [rise for rise in self.rises if now_s - rise.at_s < 2.0 * self.bounds.dwell_up_s]
        self.rises.append(Rise(now_s, index, size_w, cycle, what in STARTS))
        for window_s, share in ((60.0, self.bounds.ramp_up_per_min), (300.0, self.bounds.ramp_up_per_5min)):
            risen = [rise for rise in self.rises if now_s - rise.at_s < window_s]
            total_w = sum(rise.size_w for rise in risen)
            alone = len({rise.miner for rise in risen}) == 1
            if not alone:
                self._worst(
                    f"% of rated power risen in {window_s:.0f} s", 100.0 * total_w / self.rated_site_w, 100 * share
                )
            if total_w > share * self.rated_site_w * SLACK and not alone:
                told = ", ".join(f"miner {r.miner} {r.size_w:.0f} W at {r.at_s / 60.0:.0f} min" for r in risen)
                self.fail(
                    f"rises of {total_w:.0f} W in {window_s:.0f} s, {share * self.rated_site_w:.0f} W allowed: {told}",
                    *{rise.miner for rise in risen},
                )
        counted_w = self.counted_w(after_w, index)
        if np.isfinite(self.cap_w):
            self._worst("% of the cap counted after a rise", 100.0 * counted_w / self.cap_w, 100.0)
        if counted_w > self.cap_w * SLACK:
            self.fail(
                f"miner {index} rose to {counted_w:.0f} W of the site, above its cap of {self.cap_w:.0f} W", index
            )

    def counted_w(self, after_w: np.ndarray, risen: int) -> float:
        """Power that could be known: what miners told, highest preset of those that were not heard, W."""
        known_w = self.known_w.copy()
        known_w[risen] = after_w[risen]
        silent = np.array([self.now_s - self._heard(i) > STALE_S for i in range(len(known_w))])
        return float(np.where(silent, np.maximum(known_w, self.top_w), known_w).sum())

    # ------------------------------------------------------------------ cycles

    def begin_cycle(self, local_day: float) -> None:
        """Note what is wrong before a cycle."""
        if local_day != self._local_day:
            self._local_day, self.day_count = local_day, self.day_count + 1
        now_s = self.now_s
        for index in range(len(self.emulator.miners)):
            kinds = {fault.kind for fault in self.emulator._faults.on(index)}
            bad = bool(kinds - MACHINE) or not self.emulator.reachable(index)
            if bad or index in self.paused or index in self.by_hand or self.site_paused:
                self.calm_since_s[index] = now_s
            if kinds & WRITES:
                self.writable_since_s[index] = now_s

    def end_cycle(self, snapshot_names: set[str]) -> None:
        """Judge a finished cycle, before time goes on."""
        if snapshot_names != set(self.emulator.hosts):
            self.fail(f"miners missing in the snapshot: {set(self.emulator.hosts) - snapshot_names}")
        self._judge_heat()

    def after_time(self) -> None:
        """Judge the site's real power after a step of time."""
        power_w = float(self.emulator.twin.telemetry.power_site_w)
        now_s = self.now_s
        if power_w <= self.cap_w or not self._can_shed():
            self.over_since_s = None
            return
        self.over_since_s = now_s if self.over_since_s is None else self.over_since_s
        over_s = now_s - self.over_since_s
        self._worst("s above the cap in a row", over_s, OVER_CAP_S)
        if over_s > OVER_CAP_S:
            able = [i for i in range(len(self.groups)) if self._able(i)]
            self.fail(
                f"the site draws {power_w:.0f} W, {over_s:.0f} s above its cap of {self.cap_w:.0f} W, "
                f"while {able} could be turned down",
                able[0],
            )

    def _bridge_able(self) -> bool:
        return not self.site_paused and self.now_s - max(self.bridge_since_s, self.journal_since_s) >= 180.0

    def _able(self, index: int) -> bool:
        """Whether a miner runs and can be written to, and nothing was wrong lately."""
        calm = self.now_s - self.calm_since_s[index] >= CALM_S
        writable = self.now_s - self.writable_since_s[index] >= 3600.0 + CALM_S
        runs = self.emulator.miners[index].mode == MINING_MODE
        return bool(calm and writable and runs) and self.emulator.twin.phase[index] in (MINING, BOOTING)

    def _can_shed(self) -> bool:
        return self._bridge_able() and any(self._able(i) for i in range(len(self.groups)))

    def _judge_heat(self) -> None:
        """A miner that told more than the hard limit in two cycles has been ordered to stop after the second."""
        chip_c = self.emulator.twin.readings().temp_chip_c
        for index, told_c in enumerate(chip_c):
            mining = self.emulator.twin.phase[index] == MINING and self._able(index) and self._bridge_able()
            self.hot[index] = self.hot[index] + 1 if mining and told_c > self.bounds.temp_chip_hard_c else 0
            if self.hot[index] >= HOT_CYCLES:
                self.fail(f"miner {index} told {told_c:.0f} C in {HOT_CYCLES} cycles and was not stopped", index)
            if self.emulator.twin.phase[index] == MINING:
                self._worst("degC of a chip that mines (the firmware's own net is at 90)", told_c, 90.0)

    # ------------------------------------------------------------------ small things

    def _on(self, index: int, *kinds: FaultKind) -> bool:
        return any(fault.kind in kinds for fault in self.emulator._faults.on(index))

    def _heard(self, index: int) -> float:
        """When a miner's readings and settings last came whole, s."""
        at_s = self.heard_s[index]
        return min(at_s.get("/summary", -np.inf), at_s.get("/settings", -np.inf))

    def _whole(self, index: int, path: str, delivery: Delivery) -> bool:
        broken = any(
            fault.kind is FaultKind.MALFORMED_JSON and fault.concerns(path) for fault in self.emulator._faults.on(index)
        )
        reply = delivery.reply
        return reply is not None and reply.status == 200 and not delivery.cut and delivery.drip_s <= 10.0 and not broken


def _setting(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return json.loads(json.dumps(tree))


def _request_of(write: Write) -> str:
    match write:
        case SetPreset():
            return "POST /settings"
        case SetThrottle():
            return "POST /mining/throttle"
        case SetPower(command):
            return f"POST /mining/{command.value}"
        case _:
            return f"an unexpected {type(write).__name__}"
