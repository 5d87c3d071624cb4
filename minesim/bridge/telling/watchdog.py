"""Tells systemd that the bridge is ready and alive (the ``sd_notify`` protocol), so that a stuck bridge is restarted.

Reference: sd_notify(3), "Standalone implementations"; systemd.service(5), WatchdogSec=.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from importlib import resources

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


def tell_systemd(*states: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send states, e.g. :data:`READY` after the first cycle and :data:`ALIVE` after each one.

    Args:
        states: lines of the protocol; ``STATUS=...`` shows in ``systemctl status``.
        environment: where ``NOTIFY_SOCKET`` is looked up.

    Returns:
        Whether they were sent; False where the bridge was not started by systemd, or systemd does not listen. Neither
        may stop the bridge.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto("\n".join(states).encode(), socket.MSG_DONTWAIT, address)
        except OSError:
            return False
    return True


def unit_text() -> str:
    """Text of the packaged systemd unit."""
    return (resources.files("minesim.bridge") / "deploy" / "minesim-bridge.service").read_text(encoding="utf-8")
