"""How fast the emulator answers and steps: ``python -m tests.emulator.speed``."""

from __future__ import annotations

import time
from collections.abc import Callable

import typer

from minesim.emulator import Emulator
from tests.emulator.firmware import S19J_PRO


def best_s(work: Callable[[], object], repeats: int = 5) -> float:
    """Time of the fastest of some runs, s; a busy machine slows the others down."""
    times = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - began_s)
    return min(times)


def measured(miners: int) -> dict[str, float]:
    """Milliseconds for an answer to ``/summary`` and for a control step of a fleet."""
    emulator = Emulator((S19J_PRO,) * miners)
    emulator.advance(600.0)
    asked = range(0, miners, max(1, miners // 200))

    def ask() -> None:
        for index in asked:
            emulator.request(index, "GET", "/api/v1/summary")

    return {
        "summary_ms": 1e3 * best_s(ask) / len(asked),
        "step_ms": 1e3 * best_s(lambda: emulator.advance(300.0)) / 30.0,
    }


if __name__ == "__main__":
    for size in (1, 50, 1000):
        told = measured(size)
        typer.echo(f"{size:5d} miners: /summary {told['summary_ms']:.2f} ms, control step {told['step_ms']:.2f} ms")
