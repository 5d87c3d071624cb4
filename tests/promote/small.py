"""Small bundles of a made-up site, without a benchmark, shared by the tests of reader, writer and history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

from agents.baselines.named import named_rule
from minesim.control.bundle import Bundle, read_bundle
from minesim.control.envelope import limits
from minesim.control.fleet import CohortSpec
from minesim.control.manifest import Manifest, NetworkPolicy, RulePolicy, cohort_entries
from minesim.control.observe import schema
from minesim.control.trust import key_id_of
from minesim.promote.writer import write_bundle

NOW_S = 1_800_000_000
DAY_S = 86_400
FLEET = (CohortSpec("Antminer S19j Pro (104T)", 30), CohortSpec("Antminer S21", 20))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = {key_id_of(KEY.public_key()): KEY.public_key()}
rules = named_rule


def manifest(**changes: Any) -> Manifest:
    """A threshold rule that is valid for a day from ``NOW_S``."""
    made = Manifest(
        version="20270115T080000Z-threshold",
        agent="threshold",
        policy=RulePolicy("threshold", {"factor": 1.2}),
        cohorts=cohort_entries(FLEET),
        offers_reserve=False,
        dt_ctrl_s=300.0,
        limits=limits("bridge"),
        scenario="ercot/4cp",
        scenario_hash="0" * 64,
        created_at_s=NOW_S,
        expires_at_s=NOW_S + DAY_S,
        evidence={"gates": []},
        versions={"minesim": "0.1.0"},
    )
    return replace(made, **changes)


def onnx_file(cohorts: int = len(FLEET), n_obs: int | None = None) -> bytes:
    """A network whose decided numbers are the means of the first two numbers seen; the action is what is decided."""
    size = schema(cohorts).size if n_obs is None else n_obs
    weights = np.zeros((size, cohorts), np.float32)
    weights[:2] = 0.5
    nodes = [
        helper.make_node("MatMul", ["observation", "weights"], ["fresh"]),
        helper.make_node("Cast", ["due"], ["decides"], to=TensorProto.BOOL),
        helper.make_node("Where", ["decides", "fresh", "held"], ["numbers"]),
        helper.make_node("Identity", ["numbers"], ["action"]),
    ]

    def value(name: str, width: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])

    graph = helper.make_graph(
        nodes,
        "mean",
        [value("observation", size), value("held", cohorts), value("due", 1)],
        [value("action", cohorts), value("numbers", cohorts)],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def network_manifest(**changes: Any) -> Manifest:
    """A network that decides every third step."""
    chosen = NetworkPolicy("policy.onnx", numbers=len(FLEET), hold_steps=3)
    return manifest(**{"version": "20270115T080000Z-ppo", "agent": "ppo", "policy": chosen, **changes})


def rule_bundle(store: Path, **changes: Any) -> Path:
    """A signed bundle with a rule."""
    return write_bundle(store, manifest(**changes), {}, KEY)


def network_bundle(store: Path, **changes: Any) -> Path:
    """A signed bundle with a network."""
    return write_bundle(store, network_manifest(**changes), {"policy.onnx": onnx_file()}, KEY)


def read(folder: Path, now_s: float = NOW_S) -> Bundle:
    """Read a bundle as a bridge that trusts ``KEY``."""
    return read_bundle(folder, TRUSTED, now_s)
