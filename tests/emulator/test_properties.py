"""What holds for any settings and any order of commands."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from minesim.emulator import FIRMWARES, Emulator
from minesim.emulator.api import Route, routes
from minesim.emulator.models import miner_model
from minesim.emulator.settings import default_settings, leaves, merged, tree_of
from minesim.physics.firmware import FirmwareParams
from tests.emulator.firmware import S19J_PRO, Client
from tests.emulator.test_contract import check_reads

MODEL = miner_model(S19J_PRO)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "miner.misc.quiet_mode": st.booleans(),
    "miner.misc.restart_temp": st.integers(50, 120),
    "miner.misc.restart_hashrate": st.integers(0, 100),
    "miner.cooling.mode": st.one_of(
        st.builds(lambda t: {"name": "auto", "param": t}, st.integers(20, 90)),
        st.builds(lambda d: {"name": "manual", "param": d}, st.integers(0, 100)),
        st.just({"name": "immers"}),
    ),
    "miner.cooling.fan_min_duty": st.integers(0, 100),
    "miner.overclock.preset_switcher.enabled": st.booleans(),
    "miner.overclock.preset_switcher.top_preset": st.sampled_from([None, "1585", "3062"]),
    "miner.overclock.preset_switcher.decrease_temp": st.integers(25, 90),
    "network.hostname": st.text(max_size=20),
    "regional.timezone.current": st.sampled_from(["GMT", "GMT+3", "GMT-11"]),
}


@given(
    st.dictionaries(st.sampled_from(sorted(FIELDS)), st.none()).flatmap(
        lambda d: st.fixed_dictionaries({k: FIELDS[k] for k in d})
    ),
    st.sampled_from(FIRMWARES),
)
def test_a_write_changes_what_it_gives_and_nothing_else(values: dict[str, Any], firmware: str) -> None:
    generation = firmware[:3]
    tree = default_settings(MODEL, generation, FirmwareParams(), 7, "me", "antminer")
    patch: dict[str, Any] = {}
    for path, value in values.items():
        node = patch
        *parents, last = path.split(".")
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value
    result = merged(tree, patch, MODEL, generation)
    wanted = dict(leaves(tree)) | dict(leaves(patch))
    assert dict(leaves(result)) == wanted
    assert merged(result, patch, MODEL, generation) == result
    assert all(merged(tree, tree_of(path, value), MODEL, generation) for path, value in leaves(patch))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5000), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
PATHS = [path for path, _ in leaves(default_settings(MODEL, "1.3", FirmwareParams(), 7, "me", "antminer"))]


@settings(max_examples=100, deadline=None)
@given(path=st.sampled_from(PATHS), cut=st.integers(1, 4), value=JSON, firmware=st.sampled_from(FIRMWARES))
def test_any_value_anywhere_in_the_settings_is_taken_whole_or_refused(
    path: tuple[str, ...], cut: int, value: Any, firmware: str
) -> None:
    client = Client(Emulator((S19J_PRO,), firmware=firmware))
    before = client.get("/settings")
    reply = client.reply("POST", "/settings", tree_of(path[:cut], value))
    assert reply.status in (200, 500)
    if reply.status == 500:
        assert client.get("/settings") == before
    check_reads(client.emulator, 0, "/settings", "/ui", "/layout", "/perf-summary", "/summary")
    client.emulator.advance(60.0)


@settings(max_examples=100, deadline=None)
@given(
    route=st.sampled_from([r for r in routes() if r.method != "GET"]), body=JSON, firmware=st.sampled_from(FIRMWARES)
)
def test_any_body_gets_an_answer(route: Route, body: Any, firmware: str) -> None:
    client = Client(Emulator((S19J_PRO,), firmware=firmware))
    path = route.path.replace("*", "status/clear" if "logs" in route.path else "rack")
    assert 200 <= client.reply(route.method, path, body).status <= 500
    client.emulator.advance(120.0)
    assert client.reply("GET", "/summary").status == 200


class Commands(RuleBasedStateMachine):
    """Any order of commands on one miner: modes follow the pairs, and the twin follows the modes."""

    def __init__(self) -> None:
        super().__init__()
        self.emulator = Emulator((S19J_PRO,), step_s=60.0)
        self.client = Client(self.emulator)
        self.mode = "mining"
        self.preset = "3062"
        self.waited_s = 0.0

    @rule(seconds=st.sampled_from([0.0, 60.0, 300.0, 900.0]))
    def wait(self, seconds: float) -> None:
        self.client.wait(seconds)
        self.waited_s += seconds

    @rule(command=st.sampled_from(["stop", "start", "pause", "resume", "restart"]))
    def command(self, command: str) -> None:
        after = {
            ("mining", "stop"): "stopped",
            ("mining", "pause"): "paused",
            ("stopped", "start"): "mining",
            ("paused", "resume"): "mining",
        } | {(mode, "restart"): "mining" for mode in ("mining", "stopped", "paused")}
        status = self.client.reply("POST", f"/mining/{command}").status
        assert status == (200 if (self.mode, command) in after else 500)
        self.mode = after.get((self.mode, command), self.mode)
        self.waited_s = 0.0

    @rule(preset=st.sampled_from([preset.name for preset in MODEL.presets]))
    def choose(self, preset: str) -> None:
        self.client.preset(preset)
        self.preset = preset
        self.waited_s = 0.0

    @rule(percent=st.integers(20, 100))
    def throttle(self, percent: int) -> None:
        self.client.post("/mining/throttle", {"percent": percent})
        assert self.client.get("/status")["throttled"] == percent

    @invariant()
    def configured_is_what_was_written(self) -> None:
        assert self.client.configured() == self.preset
        assert self.emulator.miners[0].mode == self.mode

    @invariant()
    def no_hashes_without_mining(self) -> None:
        miner = self.client.summary()
        if miner["miner_status"]["miner_state"] not in ("mining", "shutting-down"):
            assert miner["hr_realtime"] == 0.0 or self.waited_s == 0.0

    @precondition(lambda self: self.waited_s >= 900.0)
    @invariant()
    def after_a_quarter_of_an_hour_it_does_what_it_was_told(self) -> None:
        assert self.client.state() == ("mining" if self.mode == "mining" else "stopped")
        assert self.client.running() == self.preset


Commands.TestCase.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
TestCommands = Commands.TestCase
