"""Short ways to talk to an emulated miner as a logged-in client."""

from __future__ import annotations

import json
from typing import Any

from minesim.emulator import Emulator
from minesim.emulator.http import Reply

S19J_PRO = "Antminer S19j Pro (104T)"


class Client:
    """One miner, asked by its number; every answer has to come."""

    def __init__(self, emulator: Emulator, index: int = 0, password: str = "admin") -> None:
        self.emulator, self.index, self.password = emulator, index, password
        self.headers: dict[str, str] = {}
        self.login()

    def login(self) -> None:
        """Open a new session."""
        self.headers = {"authorization": f"Bearer {self.post('/unlock', {'pw': self.password})['token']}"}

    def wait(self, seconds: float) -> None:
        """Let time pass, and log in again."""
        self.emulator.advance(seconds)
        self.login()

    def reply(self, method: str, path: str, body: Any = None) -> Reply:
        """The answer as it is."""
        reply = self.emulator.request(self.index, method, f"/api/v1{path}", body, self.headers).reply
        assert reply is not None
        return reply

    def get(self, path: str) -> Any:
        """A successful read."""
        reply = self.reply("GET", path)
        assert reply.status == 200, reply
        return json.loads(reply.body)

    def post(self, path: str, body: Any = None) -> Any:
        """A successful write; None for an empty answer."""
        reply = self.reply("POST", path, body)
        assert reply.status == 200, reply
        return json.loads(reply.body) if reply.body else None

    def refused(self, path: str, body: Any = None) -> tuple[int, str]:
        """A write that is refused: status and what it says."""
        reply = self.reply("POST", path, body)
        assert reply.status >= 400
        return reply.status, json.loads(reply.body).get("err", "")

    def preset(self, name: str, **more: Any) -> Any:
        """Write a preset."""
        return self.post("/settings", {"miner": {"overclock": {"preset": name, **more}}})

    def summary(self) -> Any:
        """The miner's part of ``/summary``."""
        return self.get("/summary")["miner"]

    def state(self) -> str:
        """What the miner says that it does."""
        state: str = self.get("/status")["miner_state"]
        return state

    def configured(self) -> str:
        """The configured preset."""
        name: str = self.get("/settings")["miner"]["overclock"]["preset"]
        return name

    def running(self) -> str:
        """The preset that runs."""
        name: str = self.get("/perf-summary")["current_preset"]["name"]
        return name
