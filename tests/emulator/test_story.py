"""One miner from end to end: read, write a preset, let time pass, read again."""

from __future__ import annotations

import httpx

from minesim.emulator import Emulator

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
