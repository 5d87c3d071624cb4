"""What the bridge tells the world after each cycle: one value that metrics, dashboard and ``status`` read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from minesim.bridge import documents
from minesim.errors import DataFileError, explain


@dataclass(frozen=True)
class MinerView:
    """One miner; None where nothing is known.

    Attributes:
        name: unique in the site; its address if it has no other.
        model: as the catalog names it.
        group: what it is listed under, e.g. a container or a cohort.
        state: see :class:`minesim.bridge.miners.miner.State`.
        age_s: since its last good reading, s; None if there never was one.
        hashrate_ths: TH/s.
        power_w: wall power as reported, W.
        temp_chip_c, temp_board_c: hottest, degC.
        preset_power_w: nominal power of the preset that runs, W.
        throttle: 0.2 to 1; None where the firmware has none.
        commanded_power_w: what the bridge wants it to draw, W; 0 when it is to stand still, None when it wants nothing.
        holds: why it is held or limited, most severe first: short names (``stale``, ``hard_temp``).
        wave: place in the rollout (``holdback``, ``10 %``), or ``""``.
    """

    name: str
    model: str
    group: str
    state: str
    age_s: float | None = None
    hashrate_ths: float | None = None
    power_w: float | None = None
    temp_chip_c: float | None = None
    temp_board_c: float | None = None
    preset_power_w: float | None = None
    throttle: float | None = None
    commanded_power_w: float | None = None
    holds: tuple[str, ...] = ()
    wave: str = ""


@dataclass(frozen=True)
class ActionView:
    """A write that is not settled, or was not allowed.

    Attributes:
        miner: its name.
        what: the write in words, e.g. ``preset 3000 -> 2400``.
        status: ``pending``, ``awaiting approval`` or ``blocked``.
        since_s: since when, s since 1970 UTC.
        reason: why it is wanted, or why it is blocked.
    """

    miner: str
    what: str
    status: str
    since_s: float
    reason: str


@dataclass(frozen=True)
class FeedView:
    """A feed: its age and the age it may have, s (None: never had a value), and where its values come from now."""

    name: str
    age_s: float | None
    age_max_s: float
    source: str

    @property
    def stale(self) -> bool:
        """Whether it is older than allowed."""
        return self.age_s is None or self.age_s > self.age_max_s


@dataclass(frozen=True)
class PolicyView:
    """The policy in force: name, version, and when it expires (s since 1970 UTC; None: never)."""

    name: str
    version: str
    expires_at_s: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """The site as the bridge sees it at the end of a cycle.

    Attributes:
        at_s: end of the cycle, s since 1970 UTC.
        site: its name.
        mode: ``shadow``, ``advise`` or ``auto``.
        paused: whether a person paused the bridge.
        miners: all of the inventory.
        power_w: at the site's meter, W; None without one.
        cap_w: site cap, W; None without one.
        feeds, policy: see there; no policy before one is loaded.
        actions: unsettled, awaiting and blocked writes, oldest first.
        rollout: state of the rollout in words, or ``""``.
        messages: latest events, newest last.
    """

    at_s: float
    site: str
    mode: str
    paused: bool
    miners: tuple[MinerView, ...]
    power_w: float | None = None
    cap_w: float | None = None
    feeds: tuple[FeedView, ...] = ()
    policy: PolicyView | None = None
    actions: tuple[ActionView, ...] = ()
    rollout: str = ""
    messages: tuple[str, ...] = field(default=())

    @property
    def power_estimated_w(self) -> float:
        """Sum of what the miners report, W; a miner that tells nothing counts as nothing."""
        return sum(miner.power_w or 0.0 for miner in self.miners)

    @property
    def hashrate_ths(self) -> float:
        """Sum of what the miners report, TH/s."""
        return sum(miner.hashrate_ths or 0.0 for miner in self.miners)


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Publish a snapshot as JSON; a reader sees the old or the new one, never half of it.

    Raises:
        DataFileError: the file cannot be written.
    """
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_bytes(documents.to_json(snapshot).encode())
        os.replace(beside, path)
    except OSError as error:
        raise DataFileError(
            explain(f"cannot write the snapshot: {error.strerror}", origin=str(path), fix="Check the folder's rights.")
        ) from error


def read_snapshot(path: Path) -> Snapshot:
    """Read what :func:`write_snapshot` wrote.

    Raises:
        DataFileError: there is none, or it is not a snapshot.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataFileError(
            explain(
                f"no snapshot to read: {error.strerror}",
                origin=str(path),
                fix="Start the bridge, or name the folder of its state.",
            )
        ) from error
    return documents.from_json(Snapshot, text, origin=str(path), fix="Use bridge and viewer of the same version.")
