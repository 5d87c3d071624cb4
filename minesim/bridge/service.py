"""Put a bridge together from its inventory and its bundle, and run it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final

import httpx

from minesim.bridge.clock import Clock, SystemClock
from minesim.bridge.deciding.decide import Decider
from minesim.bridge.deciding.readings import SiteNow
from minesim.bridge.feeds import FeedError
from minesim.bridge.loop import Bridge, LoopSettings, Mode
from minesim.bridge.miners.miner import MinerPort
from minesim.bridge.miners.poller import Poller
from minesim.bridge.miners.vnish import VnishMiner
from minesim.bridge.miners.vnish_auth import Credentials
from minesim.bridge.rollouts.trial import Trial
from minesim.bridge.rollouts.waves import Design, RolloutPlan
from minesim.bridge.settings.inventory import Inventory, InventoryMiner
from minesim.bridge.settings.secret import read_secret
from minesim.bridge.telling.metrics import Metrics, serve
from minesim.bridge.telling.notify import Channel, Notifier
from minesim.bridge.telling.snapshot import PolicyView
from minesim.bridge.telling.tell import Teller
from minesim.bridge.telling.watchdog import STOPPING, tell_systemd
from minesim.bridge.writing.actuator import Actuator, Planner, ReadOnlyPort
from minesim.bridge.writing.journal import Journal
from minesim.control.bundle import Bundle, RuleFactory, require_fleet
from minesim.control.envelope import Limits
from minesim.control.fleet import fleet_curves
from minesim.errors import ParamsError, explain

LOG = logging.getLogger(__name__)
JOURNAL: Final = "journal.db"
SNAPSHOT: Final = "snapshot.json"


@dataclass(frozen=True)
class ServiceSettings:
    """How the bridge runs.

    Attributes:
        mode: what it may do.
        state: folder of journal and snapshot; made with mode 0700 where it is missing.
        poll_s: time between cycles, s.
        metrics_port: of the Prometheus endpoint on this machine; None for none.
        channels: ways to people.
    """

    mode: Mode
    state: Path
    poll_s: float = 20.0
    metrics_port: int | None = None
    channels: tuple[Channel, ...] = field(default=())


def state_folder(path: Path) -> Path:
    """The folder of a bridge's state, made where it is missing.

    Raises:
        ParamsError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ParamsError(
            explain(f"cannot make the folder {path}: {error.strerror}", fix="Name one that you may write with --state.")
        ) from error
    return path


@contextlib.asynccontextmanager
async def open_ports(
    inventory: Inventory, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Mapping[str, MinerPort]]:
    """Clients of all miners of an inventory, by address.

    Raises:
        ParamsError: a secret that the inventory refers to is missing or open to others.
    """
    async with contextlib.AsyncExitStack() as stack:
        ports: dict[str, MinerPort] = {}
        for miner in inventory.miners:
            client = VnishMiner(miner.address, credentials_of(miner), clock, transport=transport)
            ports[miner.address] = await stack.enter_async_context(client)
        yield ports


def credentials_of(miner: InventoryMiner) -> Credentials | None:
    """Read the credentials that an inventory refers to; None where it names none.

    Raises:
        ParamsError: missing, or open to others.
    """
    refs = miner.credentials
    if refs is None:
        return None
    if refs.api_key is not None:
        return Credentials(api_key=read_secret(refs.api_key).reveal())
    assert refs.password is not None
    return Credentials(password=read_secret(refs.password).reveal())


def make_decider(inventory: Inventory, bundle: Bundle, rules: RuleFactory, candidate: Bundle | None = None) -> Decider:
    """The decider of a site under a bundle's policy, and under the strictest of the site's and the bundles' limits.

    Args:
        inventory: the site.
        bundle: of the policy in force.
        rules: makes rules by name.
        candidate: of a second policy that is rolled out beside it.

    Raises:
        BundleError: a bundle is of another fleet, or its policy cannot be loaded.
        ParamsError: the two bundles cannot run side by side.
    """
    curves = fleet_curves(inventory.cohorts)
    require_fleet(bundle, inventory.cohorts)
    policy = bundle.policy(curves, rules)
    settings = inventory.settings(bundle.manifest.dt_ctrl_s)
    settings = replace(settings, limits=tighter(settings.limits, bundle.manifest.limits))
    other = None
    if candidate is not None:
        _require_side_by_side(bundle, candidate)
        require_fleet(candidate, inventory.cohorts)
        other = candidate.policy(curves, rules)
        settings = replace(settings, limits=tighter(settings.limits, candidate.manifest.limits))
    return Decider(inventory.members(), inventory.cohorts, policy, inventory.feed_book(), settings, candidate=other)


def plan_for(inventory: Inventory, design: Design, seed: int) -> RolloutPlan:
    """The plan of a rollout at a site; peaks are watched where its tariff has a demand charge."""
    plan = RolloutPlan(seed, design)
    return plan if inventory.tariff.demand is not None else replace(plan, peak_margin=None)


def view_of(bundle: Bundle) -> PolicyView:
    """Name, version and expiry of a bundle's policy."""
    manifest = bundle.manifest
    return PolicyView(manifest.agent, manifest.version, float(manifest.expires_at_s))


def _require_side_by_side(bundle: Bundle, candidate: Bundle) -> None:
    ours, theirs = bundle.manifest, candidate.manifest
    if (ours.agent, ours.version) == (theirs.agent, theirs.version):
        raise ParamsError(
            explain(
                f"bundle and candidate are both {ours.agent} {ours.version}",
                fix="Give the bundle in force with --bundle and the new one with --candidate.",
            )
        )
    for name in ("dt_ctrl_s", "offers_reserve"):
        mine, its = getattr(ours, name), getattr(theirs, name)
        if mine != its:
            raise ParamsError(
                explain(
                    f"{name} of the candidate is {its}",
                    allowed=f"{mine}, as in the bundle in force",
                    fix="Promote a candidate that was trained for the same control step and products.",
                )
            )


async def run_bridge(
    inventory: Inventory,
    bundle: Bundle,
    rules: RuleFactory,
    settings: ServiceSettings,
    *,
    candidate: Bundle | None = None,
    plan: RolloutPlan | None = None,
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> None:
    """Run until ``stop`` is set, or the process is told to end (SIGTERM, SIGINT); the running cycle is finished first.

    Raises:
        MinesimError: the parts do not fit, a secret is missing, or the journal cannot be used.
    """
    clock = clock or SystemClock()
    stop = stop or asyncio.Event()
    if candidate is not None and settings.mode is not Mode.AUTO:
        raise ParamsError(
            explain(
                f"a candidate is rolled out in mode {settings.mode.value}",
                allowed=Mode.AUTO.value,
                fix="Two policies can only be compared where both are carried out. "
                "Watch the candidate alone in shadow mode first, with --bundle.",
            )
        )
    decider = make_decider(inventory, bundle, rules, candidate)
    trial = None
    if candidate is not None:
        trial = Trial(plan or plan_for(inventory, Design.HOLDBACK, 0), view_of(candidate))
    state = state_folder(settings.state)
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        journal = stack.enter_context(Journal.open(state / JOURNAL))
        if settings.metrics_port is not None:
            stack.enter_context(serve(metrics, settings.metrics_port))
        ports = await stack.enter_async_context(open_ports(inventory, clock, transport))
        notifier = await stack.enter_async_context(
            Notifier(inventory.site, settings.channels, clock, metrics.count_notification)
        )
        asked: Mapping[str, MinerPort] = ports
        if settings.mode is Mode.SHADOW:
            asked = {name: ReadOnlyPort(port) for name, port in ports.items()}
            writer = Planner(journal, clock)
        else:
            writer = Actuator(journal, ports, clock)

        teller = Teller(state / SNAPSHOT, notifier)
        bridge = Bridge(
            LoopSettings(inventory.site, settings.mode, poll_s=settings.poll_s),
            Poller(asked, clock, on_read=metrics.count_read),
            decider,
            journal,
            writer,
            clock,
            view_of(bundle),
            meter=meter_of(inventory, clock),
            metrics=metrics,
            on_snapshot=teller,
            trial=trial,
            alerts=lambda: teller.alerts,
            on_alert=lambda alert: notifier.tell([alert]),
        )
        await bridge.start()
        _stop_on_signals(stop)
        await bridge.run(stop)
        tell_systemd(STOPPING)
        await notifier.drain()


def tighter(first: Limits, second: Limits) -> Limits:
    """The stricter of two sets of limits, limit by limit."""
    waits = {"dwell_up_s", "write_gap_s"}
    chosen = {
        entry.name: (max if entry.name in waits else min)(getattr(first, entry.name), getattr(second, entry.name))
        for entry in fields(Limits)
        if entry.name != "name"
    }
    return Limits(name=f"{first.name} and {second.name}" if first.name != second.name else first.name, **chosen)


def meter_of(inventory: Inventory, clock: Clock) -> Callable[[], Awaitable[SiteNow]] | None:
    """What reads the site's meter; None where the inventory has none."""
    if inventory.meter is None:
        return None
    source = inventory.meter.source()

    async def read() -> SiteNow:
        now_s = clock.now_s()
        try:
            intervals = await source.read(now_s)
        except FeedError as error:
            LOG.warning("%s", error)
            return SiteNow()
        past = [interval for interval in intervals if interval.start_s <= now_s]
        if not past:
            return SiteNow()
        latest = max(past, key=lambda interval: interval.start_s)
        return SiteNow(latest.value, latest.start_s)

    return read


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError):  # not in a thread, not on every system
            loop.add_signal_handler(number, stop.set)
