"""What a bundle says of itself: ``manifest.json``, written and read by the same text.

Everything is checked where it comes in: a manifest of another format, observation, action or set of limits than those
of this version of minesim is refused, because a policy means nothing without them.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minesim.catalog import electrical
from minesim.control.actuate import MATCH, OFF_BELOW, ON_ABOVE, THROTTLE_MIN, THROTTLE_PREFERRED_MIN
from minesim.control.channels import ObservationSchema
from minesim.control.envelope import Limits
from minesim.control.fleet import CohortSpec, tuned_presets
from minesim.control.observe import schema
from minesim.control.trust import BundleError
from minesim.errors import explain

FORMAT = 1
FLOAT_MAX = sys.float_info.max
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
HASH = re.compile(r"[0-9a-f]{64}")
TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class CohortEntry:
    """A cohort of the fleet that a policy was judged on.

    Attributes:
        model: catalog name.
        table: published preset table that its curve comes from.
        count: miners.
        presets_w: wall power of its tuned presets, rising, whole W.
    """

    model: str
    table: str
    count: int
    presets_w: tuple[int, ...]


@dataclass(frozen=True)
class RulePolicy:
    """A named rule with its parameters."""

    rule: str
    params: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkPolicy:
    """A network in ONNX form, normalisation and fleet inside.

    Attributes:
        file: its file in the bundle.
        numbers: how many numbers the network decides; they are held for ``hold_steps`` control steps.
        hold_steps: control steps between decisions.
        precision: ``float32``, or ``int8`` for weights of 8 bits.
        base: rule that the numbers are added to; None where the file gives the action itself.
        base_scale: factor on the numbers before they are added.
    """

    file: str
    numbers: int
    hold_steps: int
    precision: str = "float32"
    base: RulePolicy | None = None
    base_scale: float = 0.0


@dataclass(frozen=True)
class Manifest:
    """Content of ``manifest.json``.

    Attributes:
        version: of the policy; the name of its folder.
        agent: what it was called in the benchmark.
        policy: what acts.
        cohorts: the fleet that it was judged on, in order.
        offers_reserve: whether the action has one number more, the share of the load offered as reserve.
        dt_ctrl_s: control step, s.
        limits: of the envelope that it was rehearsed under and has to run under.
        scenario, scenario_hash: where it was judged, and the SHA-256 of those traces.
        created_at_s, expires_at_s: s since 1970 UTC, whole.
        files: name -> SHA-256 of every other file of the bundle.
        evidence: scorecard, gates and rehearsal, for people.
        versions: of what it was made with.
    """

    version: str
    agent: str
    policy: RulePolicy | NetworkPolicy
    cohorts: tuple[CohortEntry, ...]
    offers_reserve: bool
    dt_ctrl_s: float
    limits: Limits
    scenario: str
    scenario_hash: str
    created_at_s: int
    expires_at_s: int
    files: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def schema(self) -> ObservationSchema:
        """The observation of the fleet that it was judged on."""
        return schema(len(self.cohorts))

    @property
    def action_size(self) -> int:
        """Numbers of an action."""
        return len(self.cohorts) + int(self.offers_reserve)


def cohort_entries(cohorts: Sequence[CohortSpec]) -> tuple[CohortEntry, ...]:
    """A fleet as a manifest names it.

    Raises:
        CatalogError: a model or table that the catalog does not have.
    """
    found = []
    for spec in cohorts:
        unit = electrical(spec.model, spec.table)
        presets_w = tuple(round(preset.power_w) for preset in tuned_presets(spec))
        found.append(CohortEntry(unit.model, unit.table, spec.count, presets_w))
    return tuple(found)


def time_text(at_s: float) -> str:
    """UTC time for people and files.

    >>> time_text(0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).strftime(TIME)


def channels_plain(observation: ObservationSchema) -> list[dict[str, Any]]:
    """Channels as plain values, in order."""
    return [dataclasses.asdict(channel) for channel in observation.channels]


def plain_hash(content: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(_canonical(content)).hexdigest()


def action_plain(cohorts: int, offers_reserve: bool) -> dict[str, Any]:
    """What the numbers of an action mean: shape, range, and the constants of :mod:`minesim.control.actuate`."""
    return {
        "cohorts": cohorts,
        "offers_reserve": offers_reserve,
        "size": cohorts + int(offers_reserve),
        "low": -1.0,
        "high": 1.0,
        "off_below": OFF_BELOW,
        "on_above": ON_ABOVE,
        "throttle_min": THROTTLE_MIN,
        "throttle_preferred_min": THROTTLE_PREFERRED_MIN,
        "match_frac": MATCH,
    }


def limits_plain(limits: Limits) -> dict[str, Any]:
    """Limits as plain values; null is no limit."""
    return {
        name: None if isinstance(value, float) and math.isinf(value) else value
        for name, value in dataclasses.asdict(limits).items()
    }


def _policy_plain(policy: RulePolicy | NetworkPolicy) -> dict[str, Any]:
    if isinstance(policy, RulePolicy):
        return {"kind": "rule", "rule": policy.rule, "params": dict(policy.params)}
    base = None if policy.base is None else {"rule": policy.base.rule, "params": dict(policy.base.params)}
    return {
        "kind": "onnx",
        "file": policy.file,
        "numbers": policy.numbers,
        "hold_steps": policy.hold_steps,
        "precision": policy.precision,
        "base": base,
        "base_scale": policy.base_scale,
    }


def encode(manifest: Manifest) -> bytes:
    """The bytes of ``manifest.json`` that are signed.

    Raises:
        BundleError: a value that JSON cannot hold, or that :func:`decode` would refuse.
    """
    channels = channels_plain(manifest.schema)
    content = {
        "format": FORMAT,
        "version": manifest.version,
        "agent": manifest.agent,
        "policy": _policy_plain(manifest.policy),
        "cohorts": [{**dataclasses.asdict(entry), "presets_w": list(entry.presets_w)} for entry in manifest.cohorts],
        "observation": {"size": manifest.schema.size, "sha256": plain_hash(channels), "channels": channels},
        "action": action_plain(len(manifest.cohorts), manifest.offers_reserve),
        "dt_ctrl_s": manifest.dt_ctrl_s,
        "limits": limits_plain(manifest.limits),
        "scenario": {"name": manifest.scenario, "sha256": manifest.scenario_hash},
        "created_at": time_text(manifest.created_at_s),
        "expires_at": time_text(manifest.expires_at_s),
        "files": dict(manifest.files),
        "evidence": dict(manifest.evidence),
        "versions": dict(manifest.versions),
    }
    try:
        data = (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise BundleError(explain(f"the manifest holds what JSON cannot ({error})")) from error
    decode(data)
    return data


def decode(data: bytes) -> Manifest:
    """Read a manifest and check that this version of minesim means the same by it.

    Raises:
        BundleError: not a manifest, of another format, or of another observation, action or set of limits.
    """
    try:
        content = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise BundleError(explain(f"the manifest is not readable ({error})")) from error
    top = _Fields(content, "")
    number = top.whole("format")
    if number != FORMAT:
        raise BundleError(
            explain(f"the bundle has format {number}", allowed=str(FORMAT), fix="Promote again with this version.")
        )
    cohorts = tuple(_cohort(item) for item in top.items("cohorts"))
    if not cohorts:
        raise _bad("cohorts", "empty", "at least one cohort")
    action = top.table("action")
    manifest = Manifest(
        version=top.name("version"),
        agent=top.text("agent"),
        policy=_policy(top.table("policy")),
        cohorts=cohorts,
        offers_reserve=action.flag("offers_reserve"),
        dt_ctrl_s=top.number("dt_ctrl_s", above=0.0),
        limits=_limits(top.table("limits")),
        scenario=top.table("scenario").text("name"),
        scenario_hash=top.table("scenario").digest("sha256"),
        created_at_s=top.time("created_at"),
        expires_at_s=top.time("expires_at"),
        files={name: top.table("files").digest(name) for name in top.table("files").content},
        evidence=top.table("evidence").content,
        versions={name: top.table("versions").text(name) for name in top.table("versions").content},
    )
    _require_same_meaning(manifest, top.table("observation").content, action.content)
    wanted = set() if isinstance(manifest.policy, RulePolicy) else {manifest.policy.file}
    if set(manifest.files) != wanted:
        raise _bad("files", sorted(manifest.files), f"exactly {sorted(wanted)}, what its policy needs")
    if not manifest.created_at_s < manifest.expires_at_s:
        raise _bad("expires_at", time_text(manifest.expires_at_s), f"after {time_text(manifest.created_at_s)}")
    return manifest


def _require_same_meaning(manifest: Manifest, observation: Mapping[str, Any], action: Mapping[str, Any]) -> None:
    fix = "Promote the policy again with this version of minesim."
    channels = channels_plain(manifest.schema)
    theirs = observation.get("channels")
    if theirs != channels or observation.get("sha256") != plain_hash(theirs):
        rows = theirs if isinstance(theirs, list) else []
        odd = next((mine["name"] for mine, row in zip(channels, rows, strict=False) if mine != row), None)
        first = f" (first difference: {odd})" if odd else f" ({len(rows)} channels, not {len(channels)})"
        raise BundleError(
            explain(
                f"the bundle was made for another observation{first if theirs != channels else ' (its hash is wrong)'}",
                allowed=f"the {manifest.schema.size} numbers that this version of minesim observes",
                fix=fix,
            )
        )
    if observation.get("size") != manifest.schema.size:
        raise BundleError(
            explain(
                f"the bundle has an observation of {observation.get('size')!r} numbers",
                allowed=f"{manifest.schema.size}, the sum of its channels",
            )
        )
    wanted = action_plain(len(manifest.cohorts), manifest.offers_reserve)
    for name in sorted({*wanted, *action}):
        if action.get(name) != wanted.get(name):
            raise BundleError(
                explain(f"action.{name} is {action.get(name)!r}", allowed=repr(wanted.get(name)), fix=fix)
            )


def _cohort(item: Any) -> CohortEntry:
    row = _Fields(item, "cohorts")
    presets = row.items("presets_w")
    for power_w in presets:
        if type(power_w) is not int or power_w <= 0:
            raise _bad("cohorts.presets_w", power_w, "whole watts above 0")
    return CohortEntry(row.text("model"), row.text("table"), row.whole("count", least=1), tuple(presets))


def _rule(row: _Fields) -> RulePolicy:
    params = row.table("params")
    return RulePolicy(row.name("rule"), {name: params.number(name) for name in params.content})


def _policy(row: _Fields) -> RulePolicy | NetworkPolicy:
    kind = row.text("kind")
    if kind == "rule":
        return _rule(row)
    if kind != "onnx":
        raise _bad("policy.kind", kind, "rule or onnx")
    precision = row.text("precision")
    if precision not in ("float32", "int8"):
        raise _bad("policy.precision", precision, "float32 or int8")
    base = None if row.any("base") is None else _rule(row.table("base"))
    return NetworkPolicy(
        file=row.name("file"),
        numbers=row.whole("numbers", least=1),
        hold_steps=row.whole("hold_steps", least=1),
        precision=precision,
        base=base,
        base_scale=row.number("base_scale"),
    )


def _limits(row: _Fields) -> Limits:
    known = [entry.name for entry in dataclasses.fields(Limits)]
    if sorted(row.content) != sorted(known):
        odd = sorted(set(row.content) ^ set(known))
        raise _bad("limits", f"with other fields ({', '.join(odd)})", ", ".join(known))
    values: dict[str, Any] = {"name": row.text("name")}
    for name in known[1:]:
        values[name] = math.inf if row.any(name) is None else row.number(name, least=0.0)
    return Limits(**values)


@dataclass(frozen=True)
class _Fields:
    """Typed looks into a JSON object; what is wrong is told with its place."""

    content: Any
    place: str

    def __post_init__(self) -> None:
        if not isinstance(self.content, dict):
            raise _bad(self.place or "the manifest", type(self.content).__name__, "a JSON object")

    def any(self, name: str) -> Any:
        if name not in self.content:
            raise BundleError(explain(f"the manifest has no {self._where(name)}", fix="Promote the policy again."))
        return self.content[name]

    def _where(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def text(self, name: str) -> str:
        value = self.any(name)
        if not isinstance(value, str) or not value:
            raise _bad(self._where(name), value, "a text")
        return value

    def name(self, name: str) -> str:
        value = self.text(name)
        if not SAFE_NAME.fullmatch(value):
            raise _bad(self._where(name), value, "letters, digits, dot, dash and underscore, not a path")
        return value

    def digest(self, name: str) -> str:
        value = self.text(name)
        if not HASH.fullmatch(value):
            raise _bad(self._where(name), value, "a SHA-256 in hexadecimal digits")
        return value

    def flag(self, name: str) -> bool:
        value = self.any(name)
        if not isinstance(value, bool):
            raise _bad(self._where(name), value, "true or false")
        return value

    def whole(self, name: str, least: int = 0) -> int:
        value = self.any(name)
        if type(value) is not int or value < least:
            raise _bad(self._where(name), value, f"a whole number, {least} or more")
        return value

    def number(self, name: str, *, least: float = -math.inf, above: float = -math.inf) -> float:
        value = self.any(name)
        if type(value) not in (int, float) or not -FLOAT_MAX <= value <= FLOAT_MAX or value < least or value <= above:
            raise _bad(self._where(name), value, "a number" + (f" of {least:g} or more" if least > -math.inf else ""))
        return float(value)

    def time(self, name: str) -> int:
        value = self.text(name)
        try:
            moment = datetime.datetime.strptime(value, TIME).replace(tzinfo=datetime.UTC)
        except ValueError as error:
            raise _bad(self._where(name), value, "like 2026-01-31T12:00:00Z") from error
        return int(moment.timestamp())

    def table(self, name: str) -> _Fields:
        return _Fields(self.any(name), self._where(name))

    def items(self, name: str) -> list[Any]:
        value = self.any(name)
        if not isinstance(value, list):
            raise _bad(self._where(name), value, "a list")
        return value


def _bad(what: str, value: Any, allowed: str) -> BundleError:
    text = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}..."
    return BundleError(explain(f"{what} is {text}", allowed=allowed, origin="manifest.json"))


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found
