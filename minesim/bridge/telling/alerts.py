"""Alerts that the bridge raises itself from the last 40 minutes of snapshots, for notifications and for the rollout.

A site with a Prometheus loads the packaged rules as well (:func:`prometheus_rules`): they watch the bridge from
outside, which it cannot do itself. Both use the thresholds of this module; a test compares them.

A miner is *steady* in a window when it hashed all through it and neither preset nor throttle moved, so that a drop has
a cause outside the bridge. Averages over five minutes stand on both sides of a comparison, because the firmware's
present hashrate scatters by several percent.
"""

from __future__ import annotations

import enum
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources

from minesim.bridge.miners.miner import State
from minesim.bridge.telling.snapshot import MinerView, Snapshot

HASHRATE_DROP_SHARE = 0.10
HASHRATE_WINDOW_S = 15 * 60.0
EFFICIENCY_LOSS_SHARE = 0.05
EFFICIENCY_WINDOW_S = 30 * 60.0
TEMP_CHIP_HOT_C = 85.0
TEMP_CHIP_RISE_K = 8.0
TEMP_CHIP_RISE_WINDOW_S = 5 * 60.0
AVERAGE_S = 5 * 60.0
SETTLE_S = 5 * 60.0
"""A change this long before a temperature comparison still moves chips (assumed: several times the heatsink's lag)."""
NOT_HASHING_S = 15 * 60.0
READING_AGE_MAX_S = 60.0
HOLD_S = 10 * 60.0
OVER_CAP_S = 2 * 60.0
POLICY_WARNING_S = 7 * 86400.0
HOLDS_TOLD = ("hold", "fallback", "contradictory", "stale", "over_cap", "hard_temp")
"""Reasons of the guard that mean trouble and have no alert of their own; ramp, dwell and cap are its daily work."""

SAMPLE_S = 60.0
SLACK_S = 30.0
"""Snapshots come a little early or late."""


class Severity(enum.IntEnum):
    """How soon a person has to look, rising."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True)
class Alert:
    """Something a person should know.

    Attributes:
        kind: short name, the same as that of the Prometheus rule.
        severity: how soon.
        text: a sentence with value and unit.
        miner: which one, or ``""`` for the site.
    """

    kind: str
    severity: Severity
    text: str
    miner: str = ""


def prometheus_rules() -> str:
    """Text of the packaged Prometheus rules (YAML)."""
    return (resources.files("minesim.bridge") / "deploy" / "alerts.yaml").read_text(encoding="utf-8")


@dataclass(frozen=True)
class _Sample:
    at_s: float
    miners: Mapping[str, MinerView]
    over_cap: bool


class AlertWatch:
    """Remembers recent snapshots, about one a minute, and tells what is wrong now."""

    def __init__(self) -> None:
        self._samples: list[_Sample] = []

    def update(self, snapshot: Snapshot) -> list[Alert]:
        """Take the snapshot of a cycle and tell all alerts that hold now, worst first.

        After a jump of the clock backwards, or after a restart, comparisons wait until their window is full again.
        """
        if self._samples and snapshot.at_s < self._samples[-1].at_s:
            self._samples.clear()
        miners = {miner.name: miner for miner in snapshot.miners}
        if not self._samples or snapshot.at_s - self._samples[-1].at_s >= SAMPLE_S - SLACK_S:
            self._samples.append(_Sample(snapshot.at_s, miners, _over_cap(snapshot)))
        oldest_s = snapshot.at_s - EFFICIENCY_WINDOW_S - AVERAGE_S - 2.0 * SAMPLE_S
        del self._samples[: bisect_left(self._samples, oldest_s, key=_at_s)]
        found = self._site_alerts(snapshot)
        for miner in snapshot.miners:
            found += self._miner_alerts(miner, snapshot.at_s)
        return sorted(found, key=lambda alert: (-alert.severity, alert.kind, alert.miner))

    def _site_alerts(self, snapshot: Snapshot) -> list[Alert]:
        found = []
        lately = [sample for sample in self._samples if sample.at_s >= snapshot.at_s - OVER_CAP_S]
        lasted = self._samples[0].at_s <= snapshot.at_s - OVER_CAP_S and all(sample.over_cap for sample in lately)
        if snapshot.power_w is not None and snapshot.cap_w is not None and _over_cap(snapshot) and lasted:
            text = f"site draws {snapshot.power_w / 1e3:.1f} kW, above its cap of {snapshot.cap_w / 1e3:.1f} kW"
            found.append(Alert("SitePowerAboveCap", Severity.CRITICAL, text))
        for feed in snapshot.feeds:
            if feed.stale:
                age = "never had a value" if feed.age_s is None else f"is {feed.age_s:.0f} s old"
                text = f"feed {feed.name} {age} (allowed: {feed.age_max_s:.0f} s); values come from {feed.source}"
                found.append(Alert("FeedStale", Severity.WARNING, text))
        policy = snapshot.policy
        if policy is not None and policy.expires_at_s is not None:
            left_s = policy.expires_at_s - snapshot.at_s
            if left_s < POLICY_WARNING_S:
                text = f"policy {policy.name} {policy.version} expires in {left_s / 86400:.1f} days"
                found.append(Alert("PolicyExpires", Severity.WARNING, text))
        return found

    def _miner_alerts(self, miner: MinerView, now_s: float) -> list[Alert]:
        name, found = miner.name, []
        if miner.temp_chip_c is not None and miner.temp_chip_c > TEMP_CHIP_HOT_C:
            text = f"chip at {miner.temp_chip_c:g} C, above {TEMP_CHIP_HOT_C:g} C"
            found.append(Alert("MinerChipHot", Severity.CRITICAL, text, name))
        if miner.age_s is None or miner.age_s > READING_AGE_MAX_S:
            age = "never gave a reading" if miner.age_s is None else f"no reading for {miner.age_s:.0f} s"
            found.append(Alert("MinerUnreachable", Severity.WARNING, age, name))
        if self._all(name, now_s, NOT_HASHING_S, _idle_though_wanted):
            text = f"told to run, and {miner.state} for {NOT_HASHING_S / 60:.0f} min"
            found.append(Alert("MinerNotHashing", Severity.WARNING, text, name))
        for hold in miner.holds:
            if hold in HOLDS_TOLD and self._all(name, now_s, HOLD_S, lambda m, hold=hold: hold in m.holds):  # type: ignore[misc]
                text = f"held by the guard for {HOLD_S / 60:.0f} min: {hold}"
                found.append(Alert("GuardHolds", Severity.WARNING, text, name))
        return found + self._changes(name, now_s)

    def _changes(self, name: str, now_s: float) -> list[Alert]:
        """Drops and rises of a steady miner."""
        found = []
        if self._steady(name, now_s, TEMP_CHIP_RISE_WINDOW_S + SETTLE_S):
            before, now = self._at(name, now_s - TEMP_CHIP_RISE_WINDOW_S), self._at(name, now_s)
            if before is not None and now is not None:
                rise_k = (now.temp_chip_c or 0.0) - (before.temp_chip_c or 0.0)
                told = before.temp_chip_c is not None and now.temp_chip_c is not None
                if told and rise_k > TEMP_CHIP_RISE_K:
                    text = f"chip {rise_k:.0f} K hotter than {TEMP_CHIP_RISE_WINDOW_S / 60:.0f} min ago"
                    found.append(Alert("MinerChipHeatingUp", Severity.CRITICAL, text, name))
        if self._steady(name, now_s, HASHRATE_WINDOW_S + AVERAGE_S):
            earlier = self._mean(name, now_s - HASHRATE_WINDOW_S, _hashrate_ths)
            lately = self._mean(name, now_s, _hashrate_ths)
            if earlier and lately is not None and lately < (1.0 - HASHRATE_DROP_SHARE) * earlier:
                text = f"hashrate fell from {earlier:.1f} to {lately:.1f} TH/s in {HASHRATE_WINDOW_S / 60:.0f} min"
                found.append(Alert("MinerHashrateDrop", Severity.WARNING, text, name))
        if self._steady(name, now_s, EFFICIENCY_WINDOW_S + AVERAGE_S):
            earlier = self._efficiency(name, now_s - EFFICIENCY_WINDOW_S)
            lately = self._efficiency(name, now_s)
            if earlier and lately and lately > (1.0 + EFFICIENCY_LOSS_SHARE) * earlier:
                text = f"from {earlier:.1f} to {lately:.1f} J/TH in {EFFICIENCY_WINDOW_S / 60:.0f} min"
                found.append(Alert("MinerEfficiencyLoss", Severity.WARNING, text, name))
        return found

    def _window(self, name: str, from_s: float, to_s: float) -> list[MinerView]:
        first, last = bisect_left(self._samples, from_s, key=_at_s), bisect_right(self._samples, to_s, key=_at_s)
        return [sample.miners[name] for sample in self._samples[first:last] if name in sample.miners]

    def _all(self, name: str, now_s: float, window_s: float, holds: Callable[[MinerView], bool]) -> bool:
        """Whether something held all through a window that is fully covered."""
        if not self._samples or self._samples[0].at_s > now_s - window_s + SLACK_S:
            return False
        seen = self._window(name, now_s - window_s - SLACK_S, now_s)
        return len(seen) >= 0.8 * window_s / (SAMPLE_S + SLACK_S) and all(holds(miner) for miner in seen)

    def _steady(self, name: str, now_s: float, window_s: float) -> bool:
        seen = self._window(name, now_s - window_s - SLACK_S, now_s)
        settings = {(miner.preset_power_w, miner.throttle) for miner in seen}
        return len(settings) == 1 and self._all(name, now_s, window_s, _hashing)

    def _at(self, name: str, at_s: float) -> MinerView | None:
        near = self._window(name, at_s - SAMPLE_S, at_s + SLACK_S)
        return near[-1] if near else None

    def _mean(self, name: str, end_s: float, value: Callable[[MinerView], float | None]) -> float | None:
        seen = self._window(name, end_s - AVERAGE_S, end_s)
        told = [number for number in map(value, seen) if number is not None]
        return sum(told) / len(told) if told else None

    def _efficiency(self, name: str, end_s: float) -> float | None:
        power_w, hashrate_ths = self._mean(name, end_s, _power_w), self._mean(name, end_s, _hashrate_ths)
        return power_w / hashrate_ths if power_w is not None and hashrate_ths else None


def _at_s(sample: _Sample) -> float:
    return sample.at_s


def _hashing(miner: MinerView) -> bool:
    return miner.state == State.MINING


def _idle_though_wanted(miner: MinerView) -> bool:
    return miner.state not in (State.MINING, State.UNKNOWN) and bool(miner.commanded_power_w)


def _hashrate_ths(miner: MinerView) -> float | None:
    return miner.hashrate_ths


def _power_w(miner: MinerView) -> float | None:
    return miner.power_w


def _over_cap(snapshot: Snapshot) -> bool:
    return snapshot.power_w is not None and snapshot.cap_w is not None and snapshot.power_w > snapshot.cap_w
