"""From a benchmark run to a verdict, and from a verdict to a signed bundle."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minesim.bench import about
from minesim.bench.files import array_hash, plain
from minesim.bench.scorecard import values
from minesim.bench.standing import best_validated, limit_at_scale
from minesim.control.bundle import make_policy
from minesim.control.manifest import Manifest, NetworkPolicy, RulePolicy, cohort_entries, time_text
from minesim.control.policy import Policy
from minesim.control.trust import BundleError
from minesim.envs.core import World
from minesim.errors import ParamsError, explain
from minesim.promote.gates import Gate, int8_gate, rehearsal_gates, scorecard_gates
from minesim.promote.history import PROMOTED, make_current
from minesim.promote.rehearsal import Rehearsed, rehearse
from minesim.promote.run import (
    Candidate,
    Run,
    alike,
    candidate,
    read_run,
    rehearsal_weeks,
    rehearsal_world,
    scenario_of,
)
from minesim.promote.source import POLICY_FILE, PolicySource
from minesim.promote.writer import write_bundle
from minesim.site_spec import site_spec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LIMITS = "bridge"
"""What a bundle is rehearsed under and has to run under."""
EXACT = "float32 file"
DAY_S = 86400
EXPORTERS = ("torch", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Request:
    """What shall be promoted.

    Attributes:
        run: folder of a benchmark.
        suite: that it must be of.
        agent, incumbent: to be promoted, and what it is measured against.
        scenario: that the bundle is for; empty where the run has only one.
        gain: share of the incumbent's profit that the gain must surely reach; None for any gain.
        int8: store the weights of a network in 8 bits.
        training_seed: which of several trained policies.
        weights: folder of the trained policy, where it is not beside the run.
    """

    run: Path
    suite: str
    agent: str
    incumbent: str
    scenario: str = ""
    gain: float | None = None
    int8: bool = False
    training_seed: int = 0
    weights: Path | None = None


@dataclass(frozen=True)
class Part:
    """A policy in the form in which a bundle carries it.

    Attributes:
        policy: what the manifest says of it.
        files: name -> content.
        exact: the same in float32, where ``files`` have 8 bits; otherwise empty.
        figures: see :class:`minesim.promote.source.Exported`.
    """

    policy: RulePolicy | NetworkPolicy
    files: Mapping[str, bytes] = field(default_factory=dict)
    exact: Mapping[str, bytes] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What the gates say.

    Attributes:
        request: what was asked.
        run, chosen, world: what it was judged on.
        part: what a bundle would carry.
        gates: all of them.
        rehearsed: agent, incumbent, best validated rule and, for 8 bits, the float32 file, side by side, by name.
        weeks: rehearsed, UTC.
    """

    request: Request
    run: Run
    chosen: Candidate
    world: World
    part: Part
    gates: Sequence[Gate]
    rehearsed: Mapping[str, Rehearsed]
    weeks: NDArray[np.datetime64]

    @property
    def passed(self) -> bool:
        """Whether every gate is passed."""
        return all(gate.passed for gate in self.gates)


def part_of(chosen: Candidate, world: World, source: PolicySource, *, int8: bool = False) -> Part:
    """An agent of a run in the form in which a bundle carries it.

    Raises:
        ParamsError: a network that cannot be exported, or 8 bits for a rule.
        DataFileError: the trained policy is damaged.
    """
    if chosen.folder is None:
        if int8:
            raise ParamsError(explain(f"{chosen.agent!r} is a rule and has no weights", origin="--int8"))
        return Part(RulePolicy(chosen.agent, chosen.params))
    exported = source.learned(chosen.folder, world, int8=int8)
    exact = {POLICY_FILE: exported.exact} if exported.exact else {}
    return Part(exported.policy, {POLICY_FILE: exported.file}, exact, exported.figures)


def judge(
    request: Request, source: PolicySource, on_step: Callable[[int, int], None] = lambda done, total: None
) -> Verdict:
    """Put an agent through every gate.

    Args:
        request: what is asked.
        source: makes policies.
        on_step: told how many steps of the rehearsal are done, and of how many.

    Raises:
        MinesimError: the run, the agent or the scenario is not what it has to be; a gate that fails is no error.
    """
    run = read_run(request.run, request.suite)
    scenario = scenario_of(run, request.scenario)
    options: dict[str, Any] = {"training_seed": request.training_seed, "weights": request.weights}
    chosen = candidate(run, request.agent, scenario, **options)
    incumbent = candidate(run, request.incumbent, scenario)
    card = run.card.isel(seed=list(chosen.seeds))
    places = alike(run, scenario)
    gates = scorecard_gates(card, request.agent, request.incumbent, scenario, places, gain=request.gain)

    world = rehearsal_world(run, scenario, LIMITS)
    part = part_of(chosen, world, source, int8=request.int8)
    parts = {request.agent: part, request.incumbent: part_of(incumbent, world, source)}
    rule = best_validated(card, scenario)
    if rule not in parts:
        parts[rule] = part_of(candidate(run, rule, scenario), world, source)
    if part.exact:
        parts[EXACT] = replace(part, files=part.exact)
    weeks = rehearsal_weeks(run, world)
    policies = [_ready(name, item, world, source) for name, item in parts.items()]
    steps = world.horizon_steps
    rehearsed = rehearse(policies, world, weeks, on_step=lambda step: on_step(step, steps))
    done = dict(zip(parts, rehearsed, strict=True))
    gates += rehearsal_gates(done, request.agent, request.incumbent, rule, LIMITS)
    if part.exact:
        gates.append(int8_gate(done[request.agent], done[EXACT]))
    return Verdict(
        request=request,
        run=run,
        chosen=chosen,
        world=world,
        part=part,
        gates=gates,
        rehearsed=done,
        weeks=weeks,
    )


def _ready(name: str, part: Part, world: World, source: PolicySource) -> Policy:
    """The policy as a bridge would make it."""
    offers = world.scenario.tariff.reserve is not None
    return make_policy(name, part.policy, part.files, world.cohorts, world.params.curves, offers, source.rule)


def promote(verdict: Verdict, store: Path, key: Ed25519PrivateKey, now_s: int, valid_days: int) -> Path:
    """Write the signed bundle of a passed verdict and make it the current one.

    Args:
        verdict: from :func:`judge`.
        store: folder of bundles.
        key: signs.
        now_s: present time, s since 1970 UTC.
        valid_days: days until it expires.

    Returns:
        Folder of the bundle.

    Raises:
        BundleError: a gate is not passed.
        DataFileError: the store cannot be written to.
    """
    failed = [gate.name for gate in verdict.gates if not gate.passed]
    if failed:
        raise BundleError(explain(f"{verdict.request.agent!r} did not pass {', '.join(failed)}"))
    folder = write_bundle(store, manifest_of(verdict, now_s, valid_days), verdict.part.files, key)
    make_current(store, folder.name, PROMOTED, now_s, f"over {verdict.request.incumbent}")
    return folder


def manifest_of(verdict: Verdict, now_s: int, valid_days: int) -> Manifest:
    """The manifest of a verdict; the writer fills in the hashes of files."""
    world, run, agent = verdict.world, verdict.run, verdict.request.agent
    table, site = world.table, site_spec(world.config.site)
    stamp = time_text(now_s).replace("-", "").replace(":", "")
    return Manifest(
        version=f"{stamp}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', agent)[:60]}",
        agent=agent,
        policy=verdict.part.policy,
        cohorts=cohort_entries(site.cohorts),
        offers_reserve=world.scenario.tariff.reserve is not None,
        dt_ctrl_s=world.config.dt_ctrl_s,
        limits=world.limits,
        scenario=verdict.chosen.scenario,
        scenario_hash=array_hash(table.settle, table.market, table.start_utc.astype(np.int64)),
        created_at_s=now_s,
        expires_at_s=now_s + valid_days * DAY_S,
        evidence=plain(
            {
                "scorecard": _scorecard_record(verdict),
                "gates": [{**asdict(gate), "passed": gate.passed} for gate in verdict.gates],
                "rehearsal": _rehearsal_record(verdict),
                "export": dict(verdict.part.figures),
            }
        ),
        versions=_versions(run, verdict.part.policy),
    )


def _scorecard_record(verdict: Verdict) -> dict[str, Any]:
    run, request, scenario = verdict.run, verdict.request, verdict.chosen.scenario
    card = run.card.isel(seed=list(verdict.chosen.seeds))
    bound = limit_at_scale(card, "bound", scenario, 1.0)
    names = (request.agent, request.incumbent)
    return {
        "suite": request.suite,
        "created": str(card.attrs["created"]),
        "sha256": hashlib.sha256((run.folder / "scorecard.nc").read_bytes()).hexdigest(),
        "code": str(card.attrs.get("code", "")),
        "limits": str(card.attrs.get("limits", "")),
        "incumbent": request.incumbent,
        "weeks": card["week_start"].sel(scenario=scenario).to_numpy(),
        "seeds": card["seed"].to_numpy(),
        "profit_usd_per_week": {
            **{name: float(values(card, name, scenario).mean()) for name in names},
            "bound": None if bound is None else float(bound.mean()),
        },
    }


def _rehearsal_record(verdict: Verdict) -> dict[str, Any]:
    agent = verdict.rehearsed[verdict.request.agent]
    return {
        "limits": LIMITS,
        "weeks": verdict.weeks,
        "profit_usd_per_week": {name: float(item.profit_usd.mean()) for name, item in verdict.rehearsed.items()},
        "broken": dict(agent.broken),
        "held_back": dict(agent.held_back),
    }


def _versions(run: Run, policy: RulePolicy | NetworkPolicy) -> dict[str, str]:
    found = about.versions()
    if isinstance(policy, NetworkPolicy):
        found |= {name: metadata.version(name) for name in EXPORTERS}
    return found
