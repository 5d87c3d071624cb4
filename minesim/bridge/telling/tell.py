"""What happens with the snapshot of each cycle: published, watched, told to people and to systemd.

Nothing of it may stop the control loop: a full disk makes the dashboard old, and the loop goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from minesim.bridge.telling.alerts import Alert, AlertWatch
from minesim.bridge.telling.notify import Notifier
from minesim.bridge.telling.snapshot import Snapshot, write_snapshot
from minesim.bridge.telling.watchdog import ALIVE, READY, tell_systemd
from minesim.errors import DataFileError

LOG = logging.getLogger(__name__)


class Teller:
    """Call it with each snapshot.

    Args:
        path: file of the snapshot, which the dashboard reads.
        notifier: tells people; None where nobody is to be told.
        systemd: sends states to systemd.
    """

    def __init__(
        self, path: Path, notifier: Notifier | None = None, systemd: Callable[..., bool] = tell_systemd
    ) -> None:
        self._path, self._notifier, self._systemd = path, notifier, systemd
        self._watch = AlertWatch()
        self._ready, self._writable = False, True
        self.alerts: list[Alert] = []

    def __call__(self, snapshot: Snapshot) -> None:
        """Publish, watch and tell; ``alerts`` holds what is wrong now."""
        self._publish(snapshot)
        self.alerts = self._watch.update(snapshot)
        if self._notifier is not None:
            self._notifier.tell(self.alerts)
        status = f"STATUS={snapshot.mode}, {len(snapshot.miners)} miners, {len(self.alerts)} alerts"
        self._systemd(ALIVE if self._ready else READY, status)
        self._ready = True

    def _publish(self, snapshot: Snapshot) -> None:
        """Write the snapshot; said once when that stops working, and once when it works again."""
        try:
            write_snapshot(snapshot, self._path)
        except DataFileError as error:
            if self._writable:
                LOG.warning("%s", error)
            self._writable = False
            return
        if not self._writable:
            LOG.warning("the snapshot is written again: %s", self._path)
        self._writable = True
