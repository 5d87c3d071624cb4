"""A whole site in memory on one clock: emulated miners, their firmware's interface, the client, feeds, the bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agents.baselines.base import Knowledge, Rule
from minesim.arrays import NUMPY
from minesim.bridge.clock import Clock
from minesim.bridge.deciding.decide import Decider, Settings
from minesim.bridge.deciding.readings import SiteNow
from minesim.bridge.feeds import FeedBook
from minesim.bridge.loop import Bridge, LoopSettings, Mode
from minesim.bridge.miners.fleet import Member
from minesim.bridge.miners.poller import Poller, PollLimits
from minesim.bridge.miners.vnish import VnishMiner
from minesim.bridge.miners.vnish_auth import Credentials
from minesim.bridge.rollouts.trial import Trial
from minesim.bridge.rollouts.waves import RolloutPlan
from minesim.bridge.telling.alerts import Alert
from minesim.bridge.telling.metrics import Metrics
from minesim.bridge.telling.snapshot import PolicyView, Snapshot
from minesim.bridge.writing.actuator import Actuator, Planner
from minesim.bridge.writing.journal import Journal
from minesim.control.actuate import command_power_w
from minesim.control.envelope import limits
from minesim.control.fleet import CohortSpec, fleet_curves
from minesim.control.observe import schema
from minesim.emulator.emulator import Emulator
from minesim.emulator.twin import FleetDraw
from minesim.emulator.weather import Weather
from minesim.physics.firmware import FirmwareCommand
from minesim.scenario import Scenario, TraceTable, compile_table
from minesim.site_spec import SiteSpec
from tests.bridge.replay import replay_feeds


@dataclass
class EmulatorClock:
    """The emulator's time as a clock; waiting lets it pass."""

    emulator: Emulator
    start_s: float
    jump_s: float = 0.0

    def now_s(self) -> float:
        return self.start_s + self.emulator.elapsed_s + self.jump_s

    def monotonic_s(self) -> float:
        return self.emulator.elapsed_s

    async def sleep(self, seconds: float) -> None:
        steps = max(round(seconds / self.emulator.step_s), 1)
        self.emulator.advance(steps * self.emulator.step_s)


@dataclass
class Rehearsal:
    """Everything of a rehearsed site; the process can be ended and begun again with :meth:`restart`.

    Attributes:
        world: prices, coin and weather.
        models: one a miner.
        policy: makes the policy.
        journal_path: where the journal is.
        start: first moment, UTC.
        mode: of the bridge.
        poll_s: between cycles; the emulator steps as often.
        settings: of the decider.
        firmware: of all miners.
        draw: silicon and sensor errors; the seed's when None.
        candidate: makes a second policy, which is rolled out by ``plan``.
        alerts: what is wrong, for the rollout.
    """

    world: Scenario
    models: Sequence[str]
    policy: Callable[[Knowledge], Rule]
    journal_path: Path
    start: str
    mode: Mode = Mode.AUTO
    poll_s: float = 60.0
    settings: Settings = field(default_factory=lambda: Settings(limits=limits("bridge"), cap_w=1e9))
    firmware: str = "1.3.4"
    draw: FleetDraw | None = None
    site: SiteSpec | None = None
    candidate: Callable[[Knowledge], Rule] | None = None
    plan: RolloutPlan = field(default_factory=lambda: RolloutPlan(seed=1))
    alerts: list[Alert] = field(default_factory=list)
    told: list[Alert] = field(default_factory=list)
    table: TraceTable = field(init=False)
    emulator: Emulator = field(init=False)
    clock: EmulatorClock = field(init=False)
    bridge: Bridge = field(init=False)
    decider: Decider = field(init=False)
    journal: Journal = field(init=False)
    metrics: Metrics = field(init=False)
    snapshots: list[Snapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = compile_table(self.world)
        self.row = self.table.row_of(self.start)
        columns = (self.table.column(name)[self.row :] for name in ("temp_amb_c", "rel_humidity_pct", "pressure_pa"))
        start_s = float(self.table.start_utc[self.row].astype("datetime64[s]").astype(np.int64))
        self.emulator = Emulator(
            self.site or tuple(self.models),
            firmware=self.firmware,
            seed=5,
            step_s=self.poll_s,
            weather=Weather(*columns, dt_s=self.table.dt_s),
            start_at_s=start_s,
            draw=self.draw,
        )
        self.clock = EmulatorClock(self.emulator, start_s)
        self.specs = tuple(CohortSpec(model, 1) for model in self.models)
        self.members = tuple(Member(host, i, f"rack-{i // 4}") for i, host in enumerate(self.emulator.hosts))
        self.begin()

    def begin(self) -> None:
        """Begin a process of the bridge."""
        ports = self.ports_for(self.clock)
        book = FeedBook(replay_feeds(self.world, self.table), self.world.tariff, self.world.site_timezone)
        knowledge = Knowledge(schema(len(self.specs)), fleet_curves(self.specs, has_throttle=self.firmware == "1.3.4"))
        candidate = None if self.candidate is None else self.candidate(knowledge)
        self.decider = Decider(
            self.members, self.specs, self.policy(knowledge), book, self.settings, candidate=candidate
        )
        self.trial = None if candidate is None else Trial(self.plan, PolicyView("candidate", "2"))
        self.journal = Journal.open(self.journal_path)
        self.metrics = Metrics()
        writer = (
            Planner(self.journal, self.clock) if self.mode is Mode.SHADOW else Actuator(self.journal, ports, self.clock)
        )
        self.bridge = Bridge(
            LoopSettings("rehearsal", self.mode, poll_s=self.poll_s),
            Poller(ports, self.clock, PollLimits(), self.metrics.count_read),
            self.decider,
            self.journal,
            writer,
            self.clock,
            PolicyView("rule", "1"),
            meter=lambda: self.meter(),
            metrics=self.metrics,
            on_snapshot=self.snapshots.append,
            trial=self.trial,
            alerts=lambda: self.alerts,
            on_alert=self.told.append,
        )

    def ports_for(self, clock: Clock) -> dict[str, VnishMiner]:
        """New clients of all miners."""
        transport, credentials = self.emulator.transport(), Credentials(password="admin")
        return {
            member.address: VnishMiner(member.address, credentials, clock, transport=transport, timeout_s=10.0)
            for member in self.members
        }

    async def meter(self) -> SiteNow:
        """The site's meter and room sensor."""
        told = self.emulator.twin.telemetry
        return SiteNow(float(told.power_site_w), self.clock.now_s(), float(told.temp_intake_c))

    def end(self) -> None:
        """End the process: only the journal's file stays."""
        self.journal.close()

    async def restart(self) -> None:
        """End the process and begin another."""
        self.end()
        self.begin()
        await self.bridge.start()

    async def run(self, hours: float, each: Callable[[], None] = lambda: None) -> None:
        """Run cycles for some hours of the site's time; ``each`` is called after every step of the miners."""
        for _ in range(round(hours * 3600.0 / self.poll_s)):
            await self.bridge.cycle()
            self.emulator.advance(self.poll_s)
            each()

    def commanded_w(self) -> float:
        """Power that the miners are set to, W."""
        twin = self.emulator.twin
        command = FirmwareCommand(twin.run, twin.preset, twin.throttle)
        return float(command_power_w(command, twin.params.curves, xp=NUMPY).sum())

    @property
    def writes(self) -> int:
        """Writes that went out."""
        return len(self.journal.intents(limit=10**6))
