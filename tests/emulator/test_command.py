"""``minesim emulate`` from the outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from minesim.emulator.command import fleet_of
from minesim.errors import ParamsError

PROGRAM = """
import typer
from minesim.emulator.command import emulate
app = typer.Typer()
app.command()(emulate)
app()
"""


@contextmanager
def running(*options: str, behind: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [*behind, sys.executable, "-c", PROGRAM, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("interrupts", ["-", "''"], ids=["as_they_are", "ignored_by_the_shell"])
def test_it_says_when_it_is_ready_serves_and_ends_on_an_interrupt(interrupts: str) -> None:
    options = ("--model", "S21:2", "--model", "S19 XP", "--miners", "3", "--speed", "600")
    options += ("--port", "18800", "--rpc-port", "14028", "--firmware", "1.2.6")
    with running(*options, behind=("sh", "-c", f'trap {interrupts} INT; exec "$@"', "sh")) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert "ready: 3 miners, VNish 1.2.6" in ready
        assert "http://127.0.0.1:18802" in ready
        with urllib.request.urlopen("http://127.0.0.1:18802/api/v1/info", timeout=5.0) as reply:
            assert b'"miner":"Antminer S19 XP"' in reply.read()
        process.send_signal(signal.SIGINT)
        assert "stopped after" in process.stdout.read()
        assert process.wait(10.0) == 0


@pytest.mark.parametrize(
    ("models", "miners", "fleet"),
    [
        ([], 2, ["Antminer S19j Pro (104T)"] * 2),
        (["S21"], 2, ["S21", "S21"]),
        (["S21", "S19 XP"], 3, ["S21", "S21", "S19 XP"]),
        (["S21:2", "S19 XP:1"], 3, ["S21", "S21", "S19 XP"]),
        (["S21", "S21"], 3, ["S21"] * 3),
        (["S21:2", "S19 XP"], None, ["S21", "S21", "S19 XP"]),
        ([], None, ["Antminer S19j Pro (104T)"]),
    ],
)
def test_models_make_a_fleet(models: list[str], miners: int | None, fleet: list[str]) -> None:
    assert fleet_of(models, miners) == fleet


@pytest.mark.parametrize(
    ("models", "miners"),
    [(["S21:2"], 3), (["S21:4"], 3), (["S21:0"], 1), (["S21:x"], 1), ([], 0), (["S21:3", "S9"], 3)],
)
def test_numbers_that_do_not_add_up_are_refused(models: list[str], miners: int) -> None:
    with pytest.raises(ParamsError):
        fleet_of(models, miners)
