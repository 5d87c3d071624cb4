"""Snapshots of small sites, for tests of what operators see."""

from __future__ import annotations

from typing import Any

from minesim.bridge.telling.snapshot import MinerView, Snapshot

NOW_S = 1_750_000_000.0


def miner(name: str, **changes: Any) -> MinerView:
    """A healthy S19j Pro."""
    healthy: dict[str, Any] = {
        "model": "Antminer S19j Pro",
        "group": "hall 1",
        "state": "mining",
        "age_s": 4.0,
        "hashrate_ths": 100.0,
        "power_w": 3000.0,
        "temp_chip_c": 70.0,
        "temp_board_c": 60.0,
        "preset_power_w": 3000.0,
        "throttle": 1.0,
        "commanded_power_w": 3000.0,
    }
    return MinerView(name=name, **{**healthy, **changes})


def a_site(*miners: MinerView, at_s: float = NOW_S, **changes: Any) -> Snapshot:
    """A site in automatic mode."""
    plain: dict[str, Any] = {"site": "north", "mode": "auto", "paused": False}
    return Snapshot(at_s=at_s, miners=miners, **{**plain, **changes})
