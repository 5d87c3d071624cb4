"""``minesim promote`` from a benchmark to a bundle that a bridge loads, and what it refuses on the way."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from agents.baselines.named import named_rule
from agents.promotable import Promotable
from minesim.bench.files import write_json, write_netcdf
from minesim.control.bundle import read_bundle, require_fleet
from minesim.control.fleet import fleet_curves
from minesim.control.observe import schema
from minesim.control.trust import BundleError, read_trusted_keys
from minesim.errors import DataFileError, MinesimError, ParamsError
from minesim.promote.command import REFUSED, promote_app
from minesim.promote.keys import PASSPHRASE, keygen
from minesim.promote.rehearsal import BROKEN
from minesim.promote.run import alike, read_run
from minesim.site_spec import site_spec
from tests.promote.cards import card

SCENARIO = "generated/energy_only?level=hard"
PROFIT = {SCENARIO: {"always_stock": 1000.0, "threshold": 1300.0, "peak_avoiding": 1305.0, "ppo": 1310.0, "mpc": 1.0}}
AGENTS = {
    "always_stock": ("rule", {"params": {}}),
    "threshold": ("rule", {"params": {"factor": 1.0}}),
    "peak_avoiding": ("rule", {"params": {"call_factor": 0.3}}),
    "ppo": ("learned", {"folders": ["ppo-run"]}),
    "mpc": ("mpc", {"params": {}}),
}
Invoke = Callable[..., Result]


def write_run(out: Path, profit: Any = PROFIT, bound: Any = None, **options: Any) -> Path:
    """Results as a benchmark leaves them, with profits by hand and policies that are real."""
    folder = out / "latest"
    found = card(profit, bound or dict.fromkeys(profit, 1600.0), **options)
    write_netcdf(folder / "scorecard.nc", found)
    told = {name: told for name, (_, told) in AGENTS.items()}
    write_json(
        folder / "agents.json",
        {
            "suite": "hand",
            "validation": {"first": "", "weeks": 1, "every": 1},
            "agents": {name: {"kind": kind, "summary": ""} for name, (kind, _) in AGENTS.items()},
            "scenarios": {scenario: {name: told[name] for name in row} for scenario, row in profit.items()},
        },
    )
    return folder


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run the command with keys and store in a folder of its own."""
    monkeypatch.delenv(PASSPHRASE, raising=False)
    keygen(tmp_path / "key.pem", tmp_path / "trusted_keys.json")
    app = typer.Typer()
    app.add_typer(promote_app(Promotable), name="promote")
    places = {
        "run": ("--key", "key.pem", "--out", "bundles"),
        "verify": ("--keys", "trusted_keys.json"),
        "history": ("--out", "bundles"),
        "rollback": ("--keys", "trusted_keys.json", "--out", "bundles"),
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(command: str, *arguments: str) -> Result:
        told = [command, *arguments] if command in places else ["latest", "--suite", "hand", command, *arguments]
        return CliRunner().invoke(app, ["promote", *told, *places.get(command, places["run"])])

    return run


def agent(name: str) -> str:
    return f"--agent={name}"


def test_a_rule_from_benchmark_to_bridge(tmp_path: Path, invoke: Invoke) -> None:
    write_run(tmp_path)
    done = invoke(agent("threshold"))
    assert done.exit_code == 0, done.output
    assert "threshold over always_stock" in done.output
    assert "FAILED" not in done.output

    bundle = read_bundle(Path("bundles/current"), read_trusted_keys(Path("trusted_keys.json")), time.time())
    cohorts = site_spec("one_s19j_pro").cohorts
    require_fleet(bundle, cohorts)
    action = bundle.policy(fleet_curves(cohorts), named_rule).act(np.zeros((1, schema(1).size), np.float32))
    assert action.shape == (1, 1)
    manifest, evidence = bundle.manifest, bundle.manifest.evidence
    assert manifest.limits.name == "bridge"
    assert manifest.expires_at_s - manifest.created_at_s == 90 * 86400
    assert evidence["scorecard"]["profit_usd_per_week"] == {
        "always_stock": pytest.approx(1000.0),
        "threshold": pytest.approx(1300.0),
        "bound": pytest.approx(1600.0),
    }
    assert all(gate["passed"] for gate in evidence["gates"])
    assert evidence["rehearsal"]["broken"] == dict.fromkeys(BROKEN, 0)

    checked = invoke("verify", "bundles/current")
    assert checked.exit_code == 0
    assert "rule threshold (factor 1)" in checked.output
    assert invoke("history").output.startswith("* ")
    path = Path("bundles/current/manifest.json")
    path.write_text(path.read_text().replace('"factor": 1.0', '"factor": 9.0'))
    assert isinstance(invoke("verify", "bundles/current").exception, BundleError)


def test_what_follows_is_measured_against_what_runs(tmp_path: Path, invoke: Invoke) -> None:
    write_run(tmp_path, {SCENARIO: {"always_stock": 1000.0, "threshold": 1300.0}})
    assert invoke(agent("threshold")).exit_code == 0
    write_run(tmp_path, {SCENARIO: {"always_stock": 1000.0, "threshold": 1300.0, "peak_avoiding": 1400.0}})
    later = invoke(agent("peak_avoiding"))
    assert later.exit_code == 0, later.output
    assert "peak_avoiding over threshold" in later.output
    back = invoke("rollback", "--reason", "hashrate fell")
    assert back.exit_code == 0, back.output
    told = invoke("history").output
    assert told.count("promoted") == 2
    assert "hashrate fell" in told
    assert "threshold" in os.readlink("bundles/current")


def test_a_refusal_lists_every_failed_gate_and_writes_nothing(tmp_path: Path, invoke: Invoke) -> None:
    profit = {SCENARIO: {"always_stock": 1000.0, "threshold": 1010.0, "peak_avoiding": 1305.0}}
    write_run(tmp_path, profit, {SCENARIO: None}, metrics={("threshold", "trips"): 2.0})
    done = invoke(agent("threshold"), "--gain=0.05")
    assert done.exit_code == REFUSED
    failed = [line.split(":")[0].strip() for line in done.stderr.splitlines() if line.startswith("  ")]
    assert failed == ["closed", "gain_share", "worst_scenario", "trips"]
    assert "bounds=true" in done.stderr
    assert not Path("bundles").exists()


def test_broken_limits_refuse(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """An envelope that lets everything through is found by the rehearsal."""
    from minesim.envs import core

    write_run(tmp_path)
    real = core.envelope.apply_envelope

    def lax(*arguments: Any, **names: Any) -> Any:
        free = core.envelope.limits("free")
        return real(*arguments[:4], free, *arguments[5:], **names)

    monkeypatch.setattr(core.envelope, "apply_envelope", lax)
    monkeypatch.setattr("agents.baselines.threshold.Threshold.levels", _flicker)
    done = invoke(agent("threshold"))
    assert done.exit_code == REFUSED
    assert "envelope" in done.stderr
    assert "stops" in done.stderr


def _flicker(self: Any, observation: Any, fleet: Any, *, xp: Any) -> Any:
    self._count = getattr(self, "_count", 0) + 1
    return np.full((len(observation), len(fleet.models)), float(self._count // 3 % 2))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([agent("treshold")], ParamsError, "threshold"),
        ([agent("mpc")], ParamsError, "rules and trained policies"),
        ([agent("threshold"), "--incumbent=nobody"], ParamsError, "nobody"),
        ([agent("threshold"), "--incumbent=threshold"], ParamsError, "itself"),
        ([agent("threshold"), "--suite=hashrate_v1"], ParamsError, "suite 'hand'"),
        ([agent("threshold"), "--scenario=pjm"], ParamsError, "'pjm' is not part"),
        ([agent("threshold"), "--int8"], ParamsError, "no weights"),
        ([agent("threshold"), "--days=0"], ParamsError, "days"),
        ([agent("ppo")], DataFileError, "no trained policy"),
        ([agent("ppo"), "--training-seed=1"], ParamsError, "training-seed"),
    ],
)
def test_what_cannot_be_judged(
    tmp_path: Path, invoke: Invoke, arguments: list[str], error: type[MinesimError], message: str
) -> None:
    write_run(tmp_path)
    done = invoke(*arguments)
    assert isinstance(done.exception, error)
    assert message in str(done.exception)
    assert not Path("bundles").exists()


def test_without_a_run_or_a_key(tmp_path: Path, invoke: Invoke) -> None:
    assert "no benchmark result" in str(invoke(agent("threshold")).exception)
    write_run(tmp_path)
    Path("latest/agents.json").write_text("{")
    assert "damaged" in str(invoke(agent("threshold")).exception)
    write_run(tmp_path)
    Path("key.pem").unlink()
    assert "no private key" in str(invoke(agent("threshold")).exception)


def test_several_scenarios_need_one_named(tmp_path: Path, invoke: Invoke) -> None:
    row = {"always_stock": 1000.0, "threshold": 1300.0}
    write_run(tmp_path, {SCENARIO: row, "ercot/4cp": row})
    assert f"{SCENARIO}, ercot/4cp" in str(invoke(agent("threshold")).exception)


def test_a_bundle_without_a_reserve_offer_is_not_judged_where_reserve_is_sold(tmp_path: Path) -> None:
    row = {"always_stock": 1000.0, "threshold": 1300.0}
    names = (SCENARIO, "generated/reserves", "generated/4cp", "generated/mixed")
    run = read_run(write_run(tmp_path, dict.fromkeys(names, row)), "hand")
    assert alike(run, SCENARIO) == [SCENARIO, "generated/4cp"]
    assert alike(run, "generated/mixed") == ["generated/reserves", "generated/mixed"]


def test_a_trained_policy_earns_its_place(tmp_path: Path, invoke: Invoke) -> None:
    import torch

    from agents.rl.checkpoint import save_weights
    from agents.rl.policy import BEST
    from agents.rl.settings import ActionSettings, AgentSettings, TaskSettings, TrainerSettings, TrainSettings
    from agents.rl.training import Training

    torch.set_num_threads(1)
    settings = TrainSettings(
        task=TaskSettings(episode_days=1.0 / 24.0),
        agent=AgentSettings(
            envs=2, n_steps=4, batch_size=8, epochs=1, nets=[8], actions=ActionSettings("residual", "threshold", 0.01)
        ),
        trainer=TrainerSettings(steps=8, evaluate_every=0, checkpoint_every=10**6),
        scenario=SCENARIO,
        site="one_s19j_pro",
        out=str(tmp_path / "train"),
    )
    training = Training(settings, judge=None)
    training.run()
    save_weights(training.folder / BEST, training.network.state_dict())
    training.folder.rename(tmp_path / "train" / "ppo-run")
    write_run(tmp_path)
    late = invoke(agent("ppo"))
    assert "after the benchmark" in str(late.exception)

    write_run(tmp_path, created=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()))
    done = invoke(agent("ppo"), "--int8")
    assert done.exit_code == 0, done.output
    assert "profit that 8 bits cost in the rehearsal" in done.output
    bundle = read_bundle(Path("bundles/current"), read_trusted_keys(Path("trusted_keys.json")), time.time())
    assert bundle.manifest.policy.precision == "int8"
    figures = json.loads(Path("bundles/current/manifest.json").read_text())["evidence"]["export"]
    assert figures["onnx_max"] <= 1e-5
    require_fleet(bundle, site_spec("one_s19j_pro").cohorts)
    with pytest.raises(BundleError, match="another fleet"):
        require_fleet(bundle, site_spec("container").cohorts)
