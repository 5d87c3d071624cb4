"""What the client can send at all: limits before sending, one allow-list, the vendor's own schema for every body."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.bridge.miners import vnish_payloads as payloads
from minesim.bridge.miners import vnish_writes as writes
from minesim.bridge.miners.miner import (
    FanMode,
    MinerError,
    MinerRefused,
    ModelLimits,
    PoolReading,
    Power,
    SetFan,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    SwitchPool,
    Write,
)
from minesim.bridge.miners.vnish_endpoints import Endpoint
from tests.bridge.vnish_fake import MODEL_S19_126, PRESETS, FakeMiner

HERE = "10.0.0.7"
VERSIONS = ("1.2.6", "1.3.4")
DOCUMENTS = Path(__file__).parents[2].parent / "shared" / "reference" / "openapi"
NEVER = (
    "firmware",
    "factory-reset",
    "restore",
    "backup",
    "autotune/reset",
    "apikeys",
    "password",
    "network",
    "notes",
    "warranty",
    "lock/others",
    "logs",
)
PRESET_LIST = payloads.parse_presets(json.dumps(PRESETS).encode(), 1e-3, HERE)
LIMITS = payloads.parse_limits(json.dumps(MODEL_S19_126).encode(), HERE, has_throttle=True, metered=False)
OLD_LIMITS = payloads.parse_limits(json.dumps(MODEL_S19_126).encode(), HERE, has_throttle=False, metered=False)
POOLS = tuple(PoolReading(n, "btc.example:3333", "site.1", "working", 0, 0) for n in (0, 1))


@cache
def document(version: str) -> dict[str, Any]:
    """The vendor's description, where it is at hand; unknown keys made an error."""
    path = DOCUMENTS / f"vnish-v{version}.json"
    if not path.exists():
        pytest.skip("the vendor's interface descriptions are not here")
    described: dict[str, Any] = json.loads(path.read_text())

    def close(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("properties"), dict):
                node["additionalProperties"] = False
            for child in node.values():
                close(child)
        elif isinstance(node, list):
            for child in node:
                close(child)

    close(described["components"])
    return described


def check_against_vendor(version: str, method: str, path: str, body: Any) -> None:
    """Fail unless the vendor's description has this request, with this body."""
    described = document(version)
    operation = described["paths"][path.removeprefix("/api/v1")][method.lower()]
    content = operation.get("requestBody", {}).get("content")
    if content is None:
        assert body is None
        return
    schema = {**content["application/json"]["schema"], "components": described["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)


# ---------------------------------------------------------------------- the allow-list


def test_nothing_that_bricks_or_locks_is_in_the_table() -> None:
    for endpoint in Endpoint:
        assert not any(word in endpoint.path for word in NEVER), endpoint
    changing = {endpoint.path.removeprefix("/api/v1") for endpoint in Endpoint if endpoint.changes}
    assert changing == {
        "/settings",
        "/mining/throttle",
        "/mining/switch-pool",
        "/mining/start",
        "/mining/stop",
        "/mining/pause",
        "/mining/resume",
        "/mining/restart",
        "/system/reboot",
    }
    assert all(endpoint.changes for endpoint in Endpoint if endpoint.method == "POST" and endpoint != Endpoint.UNLOCK)
    assert {endpoint.method for endpoint in Endpoint} == {"GET", "POST"}


def test_the_vendor_asks_credentials_for_all_that_the_table_says() -> None:
    for endpoint in Endpoint:
        for version in VERSIONS:
            operation = document(version)["paths"].get(endpoint.path.removeprefix("/api/v1"), {})
            if endpoint.method.lower() in operation:
                security = operation[endpoint.method.lower()].get("security")
                assert endpoint.needs_auth == (bool(security) and {} not in security), endpoint


def test_only_three_settings_can_be_written() -> None:
    assert writes.WRITABLE_FIELDS == (
        "miner.overclock.preset",
        "miner.overclock.preset_switcher.top_preset",
        "miner.cooling.mode",
    )


names = st.sampled_from(["1500", "1700", "2300", "4690", "disabled", "", "9999", "miner.pools"])
wild = st.floats(-10, 200) | st.sampled_from([0.2, 0.5, 1.0, 70.0, 0.1, 0.85, float("nan"), float("inf")])
field_paths = st.sampled_from(
    [
        *writes.WRITABLE_FIELDS,
        "password",
        "password.pw",
        "network.dhcp",
        "network.ipaddress",
        "miner.pools",
        "miner.overclock",
        "miner.overclock.preset_switcher",
        "miner.overclock.preset.x",
        "miner",
        "",
    ]
) | st.text(max_size=12)
field_values = (
    st.none()
    | names
    | st.integers(-1, 200)
    | st.fixed_dictionaries(
        {"name": st.sampled_from(["auto", "manual", "immers", "immersion", "off"])},
        optional={"param": st.integers(-5, 130) | st.none() | st.booleans(), "extra": st.none()},
    )
)
any_write: st.SearchStrategy[Write] = st.one_of(
    st.builds(SetPreset, names, st.none() | names),
    st.builds(SetThrottle, wild | st.integers(20, 100).map(lambda percent: percent / 100)),
    st.builds(SetFan, st.sampled_from(FanMode), st.none() | wild),
    st.builds(SwitchPool, st.integers(-1, 5)),
    st.builds(SetPower, st.sampled_from(Power)),
    st.builds(SetFields, st.lists(st.tuples(field_paths, field_values), max_size=3).map(tuple)),
)


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=150, deadline=None)
@given(write=any_write)
async def test_whatever_is_asked_only_allowed_and_valid_requests_leave(version: str, write: Write) -> None:
    miner = FakeMiner(version)
    allowed = {(endpoint.method, endpoint.path) for endpoint in Endpoint}
    async with miner.client() as client:
        try:
            await client.write(write)
        except MinerRefused:
            assert miner.writes() == []
        else:
            assert len(miner.writes()) == 1
    for request in miner.requests:
        method, path = request.method, request.url.path
        assert (method, path) in allowed
        assert request.url.host == HERE
        if path.startswith("/api/v1"):
            check_against_vendor(version, method, path, json.loads(request.content) if request.content else None)


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_read_is_in_the_vendors_description_of_its_generation(version: str) -> None:
    miner = FakeMiner(version)
    async with miner.client() as client:
        await client.identity()
        await client.limits()
        await client.reading()
        await client.presets()
        await client.configuration()
        await client.fields(("miner.overclock.preset",))
    asked = [(method, path) for method, path in miner.asked() if path.startswith("/api/v1")]
    assert len(asked) >= 9
    for request in miner.requests:
        if request.url.path.startswith("/api/v1"):
            body = json.loads(request.content) if request.content else None
            check_against_vendor(version, request.method, request.url.path, body)
    boards, chains = ("GET", "/api/v1/boards"), ("GET", "/api/v1/chains")
    assert (boards in asked, chains in asked) == ((True, False) if version == "1.3.4" else (False, True))


# ---------------------------------------------------------------------- limits


def test_a_preset_is_chosen_by_name_and_nothing_else() -> None:
    wire = writes.preset_write(SetPreset("1500"), PRESET_LIST, HERE)
    assert (wire.endpoint, wire.body) == (Endpoint.SAVE_SETTINGS, {"miner": {"overclock": {"preset": "1500"}}})


def test_the_switchers_ceiling_moves_in_the_same_write() -> None:
    wire = writes.preset_write(SetPreset("1500", top_preset="1500"), PRESET_LIST, HERE)
    assert wire.body == {"miner": {"overclock": {"preset": "1500", "preset_switcher": {"top_preset": "1500"}}}}


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (SetPreset("1700"), "not tuned"),
        (SetPreset("4690"), "modified power supply"),
        (SetPreset("disabled"), "Manual mode"),
        (SetPreset("1501"), "1500"),
        (SetPreset("2300", top_preset="1500"), "below"),
        (SetPreset("1500", top_preset="disabled"), "Manual mode"),
    ],
)
def test_presets_that_are_refused(write: SetPreset, reason: str) -> None:
    with pytest.raises(MinerRefused, match=reason):
        writes.preset_write(write, PRESET_LIST, HERE)


@pytest.mark.parametrize(("share", "percent"), [(0.2, 20), (0.29, 29), (0.57, 57), (1.0, 100)])
def test_throttle_in_whole_percent(share: float, percent: int) -> None:
    assert writes.throttle_write(SetThrottle(share), LIMITS, HERE).body == {"percent": percent}


@pytest.mark.parametrize("share", [0.19, 0.0, 1.01, 0.555, float("nan"), float("inf"), 85.0])
def test_throttles_that_are_refused(share: float) -> None:
    with pytest.raises(MinerRefused, match=r"0\.2 to 1"):
        writes.throttle_write(SetThrottle(share), LIMITS, HERE)


def test_old_firmware_has_no_throttle() -> None:
    with pytest.raises(MinerRefused, match=r"1\.3\.3"):
        writes.throttle_write(SetThrottle(0.5), OLD_LIMITS, HERE)


@pytest.mark.parametrize(
    ("write", "mode"),
    [
        (SetFan(FanMode.AUTO, 70.0), {"name": "auto", "param": 70}),
        (SetFan(FanMode.MANUAL, 0.85), {"name": "manual", "param": 85}),
        (SetFan(FanMode.IMMERSION), {"name": "immers"}),
    ],
)
def test_fan_modes(write: SetFan, mode: dict[str, Any]) -> None:
    wire = writes.fan_write(write, LIMITS, (0.0,), HERE)
    assert wire.body == {"miner": {"cooling": {"mode": mode}}}


@pytest.mark.parametrize(
    "write",
    [
        SetFan(FanMode.AUTO, 19.0),
        SetFan(FanMode.AUTO, 91.0),
        SetFan(FanMode.AUTO, 70.5),
        SetFan(FanMode.AUTO),
        SetFan(FanMode.MANUAL, 0.09),
        SetFan(FanMode.MANUAL, 1.01),
        SetFan(FanMode.MANUAL, 85.0),
        SetFan(FanMode.MANUAL),
        SetFan(FanMode.IMMERSION, 0.5),
    ],
)
def test_fan_settings_that_are_refused(write: SetFan) -> None:
    with pytest.raises(MinerRefused):
        writes.fan_write(write, LIMITS, (), HERE)


def test_immersion_mode_would_stop_turning_fans() -> None:
    with pytest.raises(MinerRefused, match="5880 rpm"):
        writes.fan_write(SetFan(FanMode.IMMERSION), LIMITS, (5820.0, 5880.0), HERE)


def test_only_user_pools() -> None:
    assert writes.pool_write(SwitchPool(1), POOLS, HERE).body == {"pool_id": 1}
    with pytest.raises(MinerRefused, match="no user pool"):
        writes.pool_write(SwitchPool(3), POOLS, HERE)


def test_restore_writes_back_exactly_what_was_read() -> None:
    wire = writes.fields_write(
        SetFields(
            (
                ("miner.overclock.preset", "1700"),
                ("miner.overclock.preset_switcher.top_preset", None),
                ("miner.cooling.mode", {"name": "immersion"}),
            )
        ),
        LIMITS,
        PRESET_LIST,
        HERE,
    )
    assert wire.body == {
        "miner": {
            "overclock": {"preset": "1700", "preset_switcher": {"top_preset": None}},
            "cooling": {"mode": {"name": "immers"}},
        }
    }
    manual = SetFields((("miner.cooling.mode", {"name": "manual", "param": 57}),))
    assert writes.fields_write(manual, LIMITS, PRESET_LIST, HERE).body == {
        "miner": {"cooling": {"mode": {"name": "manual", "param": 57}}}
    }


@pytest.mark.parametrize(
    "values",
    [
        (("password", {"current": "a", "pw": "b"}),),
        (("network.dhcp", False),),
        (("miner.pools", []),),
        (("miner.overclock", {"preset": "1500"}),),
        (("miner.overclock.preset", None),),
        (("miner.overclock.preset", "disabled"),),
        (("miner.overclock.preset", "1500"), ("miner.overclock.preset", "2300")),
        (("miner.cooling.mode", {"name": "auto", "param": True}),),
        (("miner.cooling.mode", {"name": "auto", "param": 120}),),
        (("miner.cooling.mode", {"name": "manual", "param": None}),),
        (),
    ],
)
def test_restores_that_are_refused(values: tuple[tuple[str, object], ...]) -> None:
    with pytest.raises(MinerRefused):
        writes.fields_write(SetFields(values), LIMITS, PRESET_LIST, HERE)


@settings(deadline=None)
@given(write=any_write)
def test_what_a_write_touches_is_what_its_body_holds(write: Write) -> None:
    def build(limits: ModelLimits) -> writes.WireWrite | None:
        match write:
            case SetPreset():
                return writes.preset_write(write, PRESET_LIST, HERE)
            case SetFan():
                return writes.fan_write(write, limits, (), HERE)
            case SetFields():
                return writes.fields_write(write, limits, PRESET_LIST, HERE)
            case _:
                return None

    try:
        wire = build(LIMITS)
    except MinerError:
        return
    if wire is None:
        assert writes.touched_fields(write) == ()
        return
    rest = copy.deepcopy(wire.body)
    for path in writes.touched_fields(write):
        *parents, leaf = path.split(".")
        node: Any = rest
        for part in parents:
            node = node[part]
        del node[leaf]
    assert _leaves(rest) == []


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for child in value.values() for leaf in _leaves(child)]
    return [value]


def test_the_page_lists_every_request() -> None:
    page = (Path(__file__).parents[2] / "docs" / "vnish.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `((?:GET|POST) \S+)` \| (yes)? ?\|", page, re.MULTILINE)
    assert {request: bool(needs) for request, needs in rows} == {str(e): e.needs_auth for e in Endpoint}
