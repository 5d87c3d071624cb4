"""One miner from end to end: read, write a preset, let time pass, read again."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from minesim.emulator import Emulator, FaultKind

MODEL = "Antminer S19j Pro (104T)"


async def test_a_preset_is_written_and_runs_minutes_later() -> None:
    emulator = Emulator([MODEL])
    async with httpx.AsyncClient(
        transport=emulator.transport(), base_url=f"http://{emulator.hosts[0]}/api/v1"
    ) as client:
        emulator.advance(3600.0)
        before = (await client.get("/summary")).json()["miner"]
        assert before["miner_status"]["miner_state"] == "mining"
        assert abs(before["hr_realtime"] - 104_000.0) < 0.03 * 104_000.0
        assert (await client.post("/settings", json={})).status_code == 401

        token = (await client.post("/unlock", json={"pw": "admin"})).json()["token"]
        client.headers["authorization"] = f"Bearer {token}"
        answer = await client.post("/settings", json={"miner": {"overclock": {"preset": "1585"}}})
        assert answer.json() == {"restart_required": False, "reboot_required": False}

        emulator.advance(60.0)
        changing = (await client.get("/summary")).json()["miner"]
        assert changing["miner_status"]["miner_state"] == "initializing"
        assert changing["hr_realtime"] == 0.0

        emulator.advance(3600.0)
        after = (await client.get("/summary")).json()["miner"]
        running = (await client.get("/perf-summary")).json()["current_preset"]
        assert running["name"] == "1585"
        assert abs(after["power_consumption"] - 1585) < 0.1 * 1585
        assert after["hr_realtime"] < 0.6 * before["hr_realtime"]


def test_the_snippet_of_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")
    snippet = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert snippet is not None
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet[1], "snippet", "exec"), names)
    assert 1500 < asyncio.run(names["look"]()) < 2400  # two of three boards


@pytest.mark.parametrize("kind", FaultKind)
def test_every_fault_is_on_the_page(kind: FaultKind) -> None:
    page = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")
    assert f"`{kind.value}`" in page
