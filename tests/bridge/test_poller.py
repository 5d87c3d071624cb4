"""The poller: last answers lie as long ago as they really do."""

from __future__ import annotations

from pathlib import Path

import pytest

from minesim.emulator.faults import Fault, FaultKind
from minesim.scenario import Scenario, scenario
from tests.bridge.test_loop import rehearse


@pytest.fixture(scope="module")
def world() -> Scenario:
    return scenario("generated/energy_only", start="2022-06-20", days=12, level="hard")


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
async def test_a_silent_miner_does_not_age_by_a_jump_of_the_clock(
    world: Scenario, tmp_path: Path, jump_s: float
) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.2)
    site.emulator.inject(Fault(0, FaultKind.UNREACHABLE, site.emulator.elapsed_s, 3600.0))
    await site.run(0.2)
    site.clock.jump_s = jump_s
    await site.run(0.1)
    address = site.members[0].address
    view = next(view for view in site.snapshots[-1].miners if view.name == address)
    assert view.age_s == pytest.approx(0.3 * 3600.0, abs=120.0)
    assert site.clock.now_s() - site.decider.memory.miners[address].known_s == pytest.approx(0.3 * 3600.0, abs=120.0)
