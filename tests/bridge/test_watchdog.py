"""The systemd unit and what the bridge tells systemd."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from minesim.bridge.telling.watchdog import ALIVE, READY, tell_systemd, unit_text

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_it(abstract: bool, tmp_path: Path) -> None:
    name = f"@{tmp_path.name}-minesim" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        assert tell_systemd(READY, "STATUS=shadow, 20 miners", environment={"NOTIFY_SOCKET": name})
        assert systemd.recv(200) == b"READY=1\nSTATUS=shadow, 20 miners"
        assert tell_systemd(ALIVE, environment={"NOTIFY_SOCKET": name})
        assert systemd.recv(200) == b"WATCHDOG=1"


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    assert not tell_systemd(READY, environment={})
    assert not tell_systemd(READY, environment={"NOTIFY_SOCKET": "vsock:2:1"})
    assert not tell_systemd(READY, environment={"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_a_full_socket_does_not_block_the_loop(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        sent = [tell_systemd(ALIVE, environment={"NOTIFY_SOCKET": path}) for _ in range(2000)]
    assert sent[0]
    assert not sent[-1]


def test_the_unit_starts_in_shadow_restarts_and_holds_no_secret() -> None:
    unit = unit_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert "--mode shadow" in settings["ExecStart"]
    assert (settings["Type"], settings["Restart"]) == ("notify", "on-failure")
    assert int(settings["WatchdogSec"]) == 120
    assert "LoadCredential" in settings
    assert not re.search(r"^(SetCredential|Environment)=", unit, re.MULTILINE)


@needs_systemd
def test_systemd_accepts_the_unit_and_finds_it_closed(tmp_path: Path) -> None:
    unit = tmp_path / "minesim-bridge.service"
    unit.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", unit_text(), flags=re.MULTILINE))
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    asked = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(unit)]
    rated = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout
