"""What the bridge shows to Prometheus: one gauge a quantity, base units, read from the latest snapshot.

Miners come and go, so their gauges are made from the snapshot at each scrape: a miner that left leaves no stale series.
Names follow https://prometheus.io/docs/practices/naming/: prefix, base unit, ``_total`` for counters.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from minesim.bridge.miners.miner import State
from minesim.bridge.telling.snapshot import MinerView, Snapshot
from minesim.errors import ParamsError, explain

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

HASHES_PER_TERAHASH = 1e12
CYCLE_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)

_PER_MINER: tuple[tuple[str, str, Callable[[MinerView], float | None]], ...] = (
    (
        "hashrate_hashes_per_second",
        "Present hashrate.",
        lambda m: None if m.hashrate_ths is None else m.hashrate_ths * HASHES_PER_TERAHASH,
    ),
    ("power_watts", "Wall power as the firmware reports it.", lambda m: m.power_w),
    ("chip_temperature_celsius", "Hottest chip.", lambda m: m.temp_chip_c),
    ("board_temperature_celsius", "Hottest board.", lambda m: m.temp_board_c),
    ("preset_power_watts", "Nominal power of the preset that runs.", lambda m: m.preset_power_w),
    ("throttle_ratio", "Throttle in force, 0.2 to 1.", lambda m: m.throttle),
    ("commanded_power_watts", "What the bridge wants it to draw; 0 to stand still.", lambda m: m.commanded_power_w),
    ("reading_age_seconds", "Age of the last good reading.", lambda m: m.age_s),
    (
        "hashing",
        "1 while the firmware says that it mines, 0 while it says otherwise.",
        lambda m: None if m.state == State.UNKNOWN else float(m.state == State.MINING),
    ),
)


class Metrics:
    """Counters that the bridge's parts raise, and the latest snapshot as gauges.

    Attributes:
        registry: what a server exposes; nothing is registered globally.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._latest = _LatestSnapshot()
        self.registry.register(self._latest)
        self._writes = Counter(
            "minesim_writes", "Writes to miners by kind and result.", ("kind", "result"), registry=self.registry
        )
        self._reads = Counter("minesim_reads", "Polls of miners by result.", ("result",), registry=self.registry)
        self._journal_errors = Counter(
            "minesim_journal_errors", "Failures to read or write the journal.", registry=self.registry
        )
        self._notifications = Counter(
            "minesim_notifications",
            "Notifications by channel and result.",
            ("channel", "result"),
            registry=self.registry,
        )
        self._cycle_s = Histogram(
            "minesim_reconcile_duration_seconds",
            "From the poll to the last write of a cycle.",
            buckets=CYCLE_BUCKETS_S,
            registry=self.registry,
        )

    def publish(self, snapshot: Snapshot) -> None:
        """Show this snapshot from the next scrape on."""
        self._latest.snapshot = snapshot

    def count_write(self, kind: str, result: str) -> None:
        """Count a write: its kind (``preset``, ``throttle``, ...) and ``done``, ``failed`` or ``unknown``."""
        self._writes.labels(kind, result).inc()

    def count_read(self, result: str) -> None:
        """Count a poll of a miner: ``ok``, ``unreachable``, ``refused`` or ``invalid``."""
        self._reads.labels(result).inc()

    def count_journal_error(self) -> None:
        """Count a failure of the journal."""
        self._journal_errors.inc()

    def count_notification(self, channel: str, result: str) -> None:
        """Count a notification: its channel and ``sent``, ``suppressed`` or ``failed``."""
        self._notifications.labels(channel, result).inc()

    def observe_cycle(self, duration_s: float) -> None:
        """Record how long a cycle took, s."""
        self._cycle_s.observe(duration_s)


@contextmanager
def serve(metrics: Metrics, port: int, address: str = "127.0.0.1") -> Iterator[int]:
    """Serve the metrics over HTTP in a thread while the block runs.

    The endpoint has no login: it listens on this machine alone unless told otherwise.

    Args:
        metrics: what to show.
        port: TCP port; 0 takes a free one.
        address: where to listen.

    Yields:
        The port.

    Raises:
        ParamsError: port or address cannot be used.
    """
    try:
        server, thread = start_http_server(port, addr=address, registry=metrics.registry)
    except OSError as error:
        raise ParamsError(
            explain(
                f"cannot serve metrics on {address}:{port}: {error.strerror or error}",
                allowed="a free port on an address of this machine",
                fix="Choose another port; a second bridge on this machine needs its own.",
            )
        ) from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _LatestSnapshot(Collector):
    """Gauges made from the latest snapshot at each scrape."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None

    def collect(self) -> Iterator[Metric]:
        snapshot = self.snapshot
        if snapshot is None:
            return
        yield from _miner_metrics(snapshot.miners)
        yield from _site_metrics(snapshot)


def _miner_metrics(miners: tuple[MinerView, ...]) -> Iterator[Metric]:
    for suffix, text, value_of in _PER_MINER:
        gauge = GaugeMetricFamily(f"minesim_miner_{suffix}", text, labels=("miner",))
        for miner in miners:
            value = value_of(miner)
            if value is not None:
                gauge.add_metric((miner.name,), value)
        yield gauge
    state = GaugeMetricFamily("minesim_miner_state", "1 for the state it is in.", labels=("miner", "state"))
    about = InfoMetricFamily("minesim_miner", "What it is.", labels=("miner",))
    for miner in miners:
        state.add_metric((miner.name, miner.state), 1.0)
        about.add_metric((miner.name,), {"model": miner.model, "group": miner.group, "wave": miner.wave})
    yield state
    yield about


def _site_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    yield _gauge("minesim_last_cycle_timestamp_seconds", "When the last cycle ended.", snapshot.at_s)
    yield _gauge("minesim_paused", "1 while a person paused the bridge.", float(snapshot.paused))
    yield _gauge("minesim_site_reported_power_watts", "Sum of what the miners report.", snapshot.power_estimated_w)
    if snapshot.power_w is not None:
        yield _gauge("minesim_site_power_watts", "Power at the site's meter.", snapshot.power_w)
    if snapshot.cap_w is not None:
        yield _gauge("minesim_site_power_cap_watts", "Cap on the site's power.", snapshot.cap_w)

    mode = GaugeMetricFamily("minesim_mode", "1 for the mode in force.", labels=("mode",))
    mode.add_metric((snapshot.mode,), 1.0)
    yield mode

    holds = GaugeMetricFamily("minesim_guard_held_miners", "Miners held or limited, by reason.", labels=("reason",))
    for reason, count in sorted(Tally(hold for miner in snapshot.miners for hold in miner.holds).items()):
        holds.add_metric((reason,), count)
    yield holds

    actions = GaugeMetricFamily("minesim_actions", "Writes that are not settled or not allowed.", labels=("status",))
    tally = Tally(action.status for action in snapshot.actions)
    for status in ("pending", "awaiting approval", "blocked"):
        actions.add_metric((status,), tally[status])
    yield actions

    age = GaugeMetricFamily("minesim_feed_age_seconds", "Age of a feed; +Inf without a value.", labels=("feed",))
    limit = GaugeMetricFamily("minesim_feed_age_limit_seconds", "Age that a feed may have.", labels=("feed",))
    for feed in snapshot.feeds:
        age.add_metric((feed.name,), float("inf") if feed.age_s is None else feed.age_s)
        limit.add_metric((feed.name,), feed.age_max_s)
    yield age
    yield limit

    if snapshot.policy is not None:
        about = InfoMetricFamily("minesim_policy", "The policy in force.")
        about.add_metric((), {"name": snapshot.policy.name, "version": snapshot.policy.version})
        yield about
        if snapshot.policy.expires_at_s is not None:
            yield _gauge("minesim_policy_expiry_timestamp_seconds", "When it expires.", snapshot.policy.expires_at_s)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
