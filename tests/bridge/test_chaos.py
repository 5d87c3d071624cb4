"""Short runs of chaos, and a judge that does find what it is there to find; long ones are `make chaos`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minesim.bridge.deciding import guard
from minesim.bridge.loop import Mode
from tests.bridge.chaos import QUIET_CYCLES, run
from tests.bridge.chaos_judge import Violation

WILD = 150
"""Cycles in which things go wrong, before a quiet spell."""


@pytest.mark.parametrize(("seed", "firmware"), [(1, "1.3.4"), (2, "1.2.6")])
def test_no_limit_is_passed_and_all_is_put_back(seed: int, firmware: str, tmp_path: Path) -> None:
    told = run(seed, WILD + QUIET_CYCLES, 8, tmp_path, firmware=firmware)
    assert told.cycles == WILD + QUIET_CYCLES
    assert told.events.total() > 10
    assert told.writes.total() > 20
    assert told.restored > 0


def test_in_shadow_mode_nothing_is_written_whatever_happens(tmp_path: Path) -> None:
    told = run(3, WILD + QUIET_CYCLES, 8, tmp_path, mode=Mode.SHADOW)
    assert told.events.total() > 10
    assert told.writes.total() == told.restored == 0


def test_the_same_seed_is_the_same_run(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    runs = [run(4, QUIET_CYCLES + 10, 2, folder) for folder in (first, second)]
    assert runs[0].lines()[1:] == runs[1].lines()[1:]


def test_the_judge_sees_a_ramp_that_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_at_once(rise_w: Any, *_: Any) -> Any:
        return np.ones(len(rise_w), bool)

    monkeypatch.setattr(guard, "release", all_at_once)
    with pytest.raises(Violation, match=r"rises of \d+ W in \d+ s"):
        run(1, WILD + QUIET_CYCLES, 20, tmp_path)


def test_the_judge_sees_a_neighbour_that_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = guard.bound

    def blind(request: Any, sight: guard.Sight, *args: Any, **options: Any) -> guard.Bounded:
        return real(
            request, replace(sight, neighbour_unknown=np.zeros(len(sight.neighbour_unknown), bool)), *args, **options
        )

    monkeypatch.setattr(guard, "bound", blind)
    with pytest.raises(Violation, match="its neighbour"):
        run(1, 400 + QUIET_CYCLES, 16, tmp_path)
