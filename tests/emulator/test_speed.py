"""A thousand miners are answered for fast enough to be polled every few seconds."""

from __future__ import annotations

from tests.emulator.speed import measured


def test_a_thousand_miners_answer_and_step_fast() -> None:
    told = measured(1000)
    assert told["summary_ms"] < 1.0
    assert told["step_ms"] < 20.0
