"""What a bridge loads and what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minesim.control.bundle import MANIFEST, SIGNATURE, read_bundle, require_fleet
from minesim.control.channels import Channel
from minesim.control.envelope import Limits
from minesim.control.fleet import CohortSpec, fleet_curves
from minesim.control.manifest import decode, encode
from minesim.control.observe import schema
from minesim.control.trust import BundleError, key_id_of, read_trusted_keys, signature_file
from minesim.errors import ActionError, CatalogError, ParamsError
from tests.promote.small import (
    DAY_S,
    FLEET,
    KEY,
    NOW_S,
    TRUSTED,
    manifest,
    network_bundle,
    network_manifest,
    onnx_file,
    read,
    rule_bundle,
    rules,
)


def sign_anew(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change a manifest and sign it again with the trusted key: what only its owner can do."""
    content = json.loads((folder / MANIFEST).read_bytes())
    change(content)
    message = json.dumps(content).encode()
    (folder / MANIFEST).write_bytes(message)
    (folder / SIGNATURE).write_bytes(signature_file(key_id_of(KEY.public_key()), KEY.sign(message)))


# ---------------------------------------------------------------------- what is loaded


def test_a_rule_acts_as_the_rule_it_names(tmp_path: Path) -> None:
    bundle = read(rule_bundle(tmp_path))
    fleet = fleet_curves(FLEET)
    require_fleet(bundle, FLEET)
    observation = np.random.default_rng(0).normal(size=(50, schema(2).size)).astype(np.float32)
    wanted = rules("threshold", {"factor": 1.2}, schema(2), fleet, False).act(observation)
    assert np.array_equal(bundle.policy(fleet, rules).act(observation), wanted)
    assert bundle.manifest == manifest()
    assert bundle.key_id in TRUSTED


def test_a_rule_serves_another_fleet_of_known_models_only(tmp_path: Path) -> None:
    bundle = read(rule_bundle(tmp_path))
    other = [CohortSpec("Antminer S19 Pro", 5)]
    require_fleet(bundle, other)
    assert bundle.policy(fleet_curves(other), rules).act(np.zeros((4, schema(1).size), np.float32)).shape == (4, 1)
    with pytest.raises(CatalogError, match="Abacus"):
        require_fleet(bundle, [CohortSpec("Abacus", 5)])


def test_a_network_holds_what_it_decided_and_forgets_on_reset(tmp_path: Path) -> None:
    policy = read(network_bundle(tmp_path)).policy(fleet_curves(FLEET), rules)
    seen = np.zeros((2, schema(2).size), np.float32)
    shown = []
    for step in range(4):
        seen[:, :2] = 0.1 * (step + 1)
        shown.append(float(policy.act(seen)[0, 0]))
    assert shown == pytest.approx([0.1, 0.1, 0.1, 0.4])
    seen[:, :2] = 0.7
    policy.reset(np.array([True, False]))
    assert policy.act(seen)[:, 0] == pytest.approx([0.7, 0.4])
    policy.reset()
    assert policy.act(seen)[:, 0] == pytest.approx([0.7, 0.7])
    assert policy.act(seen[0]).shape == (2,)


def test_a_network_on_a_rule_is_the_rule_where_it_adds_nothing(tmp_path: Path) -> None:
    made = network_manifest()
    base = replace(made.policy, base=manifest().policy, base_scale=0.5)
    fleet = fleet_curves(FLEET)
    policy = read(network_bundle(tmp_path, policy=base)).policy(fleet, rules)
    observation = np.random.default_rng(0).normal(size=(20, schema(2).size)).astype(np.float32)
    observation[:, :2] = 0.0
    rule = rules("threshold", {"factor": 1.2}, schema(2), fleet, False)
    assert np.array_equal(policy.act(observation), rule.act(observation))
    observation[:, :2] = 0.2
    policy.reset()
    assert policy.act(observation) == pytest.approx(np.clip(rule.act(observation) + 0.1, -1.0, 1.0))


def test_what_is_no_number_is_never_an_action(tmp_path: Path) -> None:
    policy = read(network_bundle(tmp_path)).policy(fleet_curves(FLEET), rules)
    seen = np.full((1, schema(2).size), np.nan, np.float32)
    with pytest.raises(ActionError, match="not a number"):
        policy.act(seen)
    with pytest.raises(ActionError, match="observation of 3 numbers"):
        policy.act(np.zeros(3))


def test_reading_needs_neither_torch_nor_pickle_nor_the_twin(tmp_path: Path) -> None:
    folder = network_bundle(tmp_path)
    code = (
        "import sys, pathlib\n"
        "from minesim.control.bundle import read_bundle\n"
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey\n"
        "from minesim.control.trust import key_id_of\n"
        "from minesim.control.fleet import fleet_curves, CohortSpec\n"
        "key = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()\n"
        f"bundle = read_bundle(pathlib.Path({str(folder)!r}), {{key_id_of(key): key}}, {NOW_S})\n"
        "fleet = fleet_curves([CohortSpec(c.model, c.count) for c in bundle.manifest.cohorts])\n"
        "bundle.policy(fleet, None)\n"
        "print([name for name in ('torch', 'minesim.envs', 'minesim.site', 'agents') if name in sys.modules])\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("now_s", "message"),
    [(NOW_S + DAY_S, "expired"), (NOW_S - 301, "not yet"), (NOW_S - 299, ""), (NOW_S + DAY_S - 1, "")],
)
def test_dates(tmp_path: Path, now_s: float, message: str) -> None:
    folder = rule_bundle(tmp_path)
    if message:
        with pytest.raises(BundleError, match=message):
            read(folder, now_s)
    else:
        read(folder, now_s)


def test_unsigned_and_untrusted(tmp_path: Path) -> None:
    folder = rule_bundle(tmp_path)
    stranger = Ed25519PrivateKey.generate()
    with pytest.raises(BundleError, match="not trusted"):
        read_bundle(folder, {key_id_of(stranger.public_key()): stranger.public_key()}, NOW_S)
    message = (folder / MANIFEST).read_bytes()
    # A stranger's signature under a trusted number.
    (folder / SIGNATURE).write_bytes(signature_file(next(iter(TRUSTED)), stranger.sign(message)))
    with pytest.raises(BundleError, match="does not fit"):
        read(folder)
    (folder / SIGNATURE).unlink()
    with pytest.raises(BundleError, match=r"no manifest\.sig"):
        read(folder)
    with pytest.raises(BundleError, match="no bundle in"):
        read(tmp_path / "elsewhere")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = tmp_path_factory.mktemp("store")
    folder = network_bundle(store) if data.draw(st.booleans()) else rule_bundle(store)
    path = folder / data.draw(st.sampled_from(sorted(os.listdir(folder))))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(BundleError):
        read(folder)


def test_every_bit_of_the_signature_counts(tmp_path: Path) -> None:
    """Base64 has spare bits at its end, and JSON blanks: neither may be changed unnoticed."""
    folder = rule_bundle(tmp_path)
    content = (folder / SIGNATURE).read_bytes()
    for index in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[index] ^= 1 << bit
            (folder / SIGNATURE).write_bytes(changed)
            with pytest.raises(BundleError):
                read(folder)
    (folder / SIGNATURE).write_bytes(content + b" ")
    with pytest.raises(BundleError, match="written as it has to be"):
        read(folder)


@pytest.mark.parametrize(
    "put",
    [
        lambda folder: (folder / "extra.txt").write_text("x"),
        lambda folder: (folder / ".hidden").write_text("x"),
        lambda folder: (folder / "sub").mkdir(),
        lambda folder: (folder / "policy.onnx").unlink(),
        lambda folder: (folder / "policy.pkl").write_bytes((folder / "policy.onnx").read_bytes()),
    ],
)
def test_a_file_too_many_or_too_few(tmp_path: Path, put: Callable[[Path], object]) -> None:
    folder = network_bundle(tmp_path)
    put(folder)
    with pytest.raises(BundleError):
        read(folder)


def test_links_out_of_the_bundle(tmp_path: Path) -> None:
    folder = network_bundle(tmp_path)
    aside = tmp_path / "aside.onnx"
    (folder / "policy.onnx").rename(aside)
    (folder / "policy.onnx").symlink_to(aside)
    with pytest.raises(BundleError, match="a link"):
        read(folder)


def test_the_bundle_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(rule_bundle(tmp_path).name)
    assert read(tmp_path / "current").manifest.agent == "threshold"


def set_to(*place: str, value: object) -> Callable[[dict[str, object]], None]:
    def change(content: dict[str, object]) -> None:
        for name in place[:-1]:
            content = content[name]  # type: ignore[assignment]
        content[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_to("format", value=2), "format 2"),
        (set_to("format", value=True), "format"),
        (set_to("policy", "file", value="../policy.onnx"), "not a path"),
        (set_to("policy", "file", value="/etc/passwd"), "not a path"),
        (set_to("policy", "file", value="other.onnx"), "files is"),
        (set_to("policy", "kind", value="pickle"), "rule or onnx"),
        (set_to("policy", "hold_steps", value=0), "1 or more"),
        (set_to("version", value="../../etc"), "not a path"),
        (set_to("files", value={}), "files is"),
        (set_to("files", "more.bin", value="0" * 64), "files is"),
        (set_to("files", "policy.onnx", value="0" * 64), "SHA-256"),
        (set_to("observation", "size", value=3), "of 3 numbers"),
        (set_to("observation", "channels", 0, "high", value=7.0), "another observation"),
        (set_to("observation", "channels", value=[]), "another observation"),
        (set_to("observation", "sha256", value="0" * 64), "hash is wrong"),
        (set_to("action", "off_below", value=-0.5), "off_below"),
        (set_to("action", "size", value=3), r"action\.size"),
        (set_to("action", "new", value=1), r"action\.new"),
        (set_to("limits", "temp_chip_hard_c", value="hot"), "temp_chip_hard_c"),
        (set_to("limits", "unknown", value=1.0), "other fields"),
        (set_to("limits", "write_gap_s", value=-1.0), "0 or more"),
        (set_to("cohorts", value=[]), "at least one cohort"),
        (set_to("cohorts", 0, "count", value=0), "1 or more"),
        (set_to("dt_ctrl_s", value=0), "dt_ctrl_s"),
        (set_to("expires_at", value="2020-01-01T00:00:00Z"), "after"),
        (set_to("created_at", value="yesterday"), "like 2026"),
        (lambda content: content.pop("evidence"), "no evidence"),
    ],
)
def test_a_manifest_that_means_something_else(
    tmp_path: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    folder = network_bundle(tmp_path)
    sign_anew(folder, change)
    with pytest.raises(BundleError, match=message):
        read(folder)


def test_json_that_reads_in_two_ways(tmp_path: Path) -> None:
    text = encode(manifest())
    with pytest.raises(BundleError, match="twice"):
        decode(text.replace(b'"agent": "threshold"', b'"agent": "threshold", "agent": "other"'))
    with pytest.raises(BundleError, match="no number"):
        decode(text.replace(b'"factor": 1.2', b'"factor": Infinity'))
    with pytest.raises(BundleError):
        decode(b"[" * 100_000)
    with pytest.raises(BundleError):
        decode(b"\xff\xfe")


LEAVES = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats(allow_nan=False) | st.text(max_size=5)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_signed_manifest_may_hold_anything_and_is_read_or_refused(data: st.DataObject) -> None:
    content = json.loads(encode(network_manifest(files={"policy.onnx": "0" * 64})))
    place: object = content
    while isinstance(place, (dict, list)) and place:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    try:
        text = json.dumps(content, allow_nan=False)
    except ValueError:
        return
    with contextlib.suppress(BundleError):
        assert decode(encode(decode(text.encode()))) == decode(text.encode())


@given(values=st.lists(st.floats(0.0, allow_infinity=True, allow_nan=False), min_size=10, max_size=10))
def test_limits_come_back_as_they_were(values: list[float]) -> None:
    bounds = Limits("own", *values)
    assert decode(encode(manifest(limits=bounds))).limits == bounds


def test_another_version_with_another_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = network_bundle(tmp_path)
    now = schema(2)
    later = replace(now, channels=(*now.channels[:-1], Channel("fault_share", 0.0, 1.0, size=2)))
    monkeypatch.setattr("minesim.control.manifest.schema", lambda cohorts: later)
    with pytest.raises(BundleError, match="first difference: fault_share"):
        read(folder)


@pytest.mark.parametrize(
    ("cohorts", "message"),
    [
        (FLEET[::-1], "cohort 0 is 'Antminer S21' here"),
        (FLEET[:1], "1 cohorts here, 2 there"),
        ((FLEET[0], CohortSpec("Antminer S19 Pro", 20)), "cohort 1"),
        ((FLEET[0], CohortSpec("Antminer S21", 10)), "10 miners here, 20 there"),
        ((FLEET[0], CohortSpec("Antminer S21", 18)), ""),
    ],
)
def test_a_network_of_another_fleet(tmp_path: Path, cohorts: tuple[CohortSpec, ...], message: str) -> None:
    bundle = read(network_bundle(tmp_path))
    if message:
        with pytest.raises(BundleError, match=message):
            require_fleet(bundle, cohorts)
    else:
        require_fleet(bundle, cohorts)


def test_other_presets_under_the_same_name(tmp_path: Path) -> None:
    made = network_manifest()
    entries = (replace(made.cohorts[0], presets_w=(1000, 2000)), made.cohorts[1])
    with pytest.raises(BundleError, match="other presets"):
        require_fleet(read(network_bundle(tmp_path, cohorts=entries)), FLEET)


def test_files_that_are_no_policy(tmp_path: Path) -> None:
    from minesim.promote.writer import write_bundle

    fleet = fleet_curves(FLEET)
    for number, content in enumerate((b"", b"not a network", onnx_file(n_obs=7), onnx_file(cohorts=3))):
        folder = write_bundle(tmp_path, network_manifest(version=f"v{number}"), {"policy.onnx": content}, KEY)
        with pytest.raises(BundleError, match=r"onnxruntime cannot load|inputs or outputs"):
            read(folder).policy(fleet, rules)
    with pytest.raises(ParamsError, match="no rule"):
        read(rule_bundle(tmp_path, policy=replace(manifest().policy, rule="treshold"))).policy(fleet, rules)
    with pytest.raises(ParamsError, match="no parameter"):
        read(rule_bundle(tmp_path, version="v9", policy=replace(manifest().policy, params={"x": 1.0}))).policy(
            fleet, rules
        )


# ---------------------------------------------------------------------- trusted keys


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no list of keys"),
        ("[]", "no list of keys"),
        ('{"format": 2, "keys": []}', "format 2"),
        ('{"format": 1, "keys": [{"key_id": "00", "public_key": "AAAA"}]}', "no list of keys"),
        ('{"format": 1, "keys": [{"key_id": "00", "public_key": "%s"}]}', "not the Ed25519 key"),
    ],
)
def test_lists_of_keys_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    import base64

    from minesim.control.trust import public_der

    path = tmp_path / "trusted_keys.json"
    path.write_text(text.replace("%s", base64.b64encode(public_der(KEY.public_key())).decode()))
    with pytest.raises(BundleError, match=message):
        read_trusted_keys(path)


def test_a_list_of_keys_that_anybody_may_write(tmp_path: Path) -> None:
    path = tmp_path / "trusted_keys.json"
    path.write_text('{"format": 1, "keys": []}')
    assert read_trusted_keys(path) == {}
    path.chmod(0o666)
    with pytest.raises(BundleError, match="written by everybody"):
        read_trusted_keys(path)
    with pytest.raises(BundleError, match="no list of trusted keys"):
        read_trusted_keys(tmp_path / "none.json")
