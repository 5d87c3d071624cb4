"""Read a signed bundle: the only way in which a policy comes onto a site. Neither pickle nor torch.

A bundle is a folder with ``manifest.json``, ``manifest.sig`` and, for a learned policy, its ONNX file, and nothing
else. Files are read once; what is checked is what is used.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minesim.control.actuate import FleetCurves
from minesim.control.channels import ObservationSchema
from minesim.control.fleet import CohortSpec
from minesim.control.manifest import CohortEntry, Manifest, NetworkPolicy, RulePolicy, cohort_entries, decode, time_text
from minesim.control.observe import schema
from minesim.control.onnx_policy import OnnxPolicy
from minesim.control.policy import Policy
from minesim.control.trust import SIGNATURE_FILE_MAX, BundleError, TrustedKeys, check_signature
from minesim.errors import explain

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MANIFEST_MAX = 4 * 2**20
FILE_MAX = 64 * 2**20
"""Largest files, bytes; a network of these tasks has some hundred kB."""
CLOCK_SKEW_S = 300.0
"""So far a clock may be behind that of whoever signed (assumed)."""
COUNT_TOLERANCE = 0.2
"""A cohort of a learned policy may have so many more or fewer miners than at its judgement (assumed): its inputs are
shares of the rated power of what stands there, but how cohorts weigh against each other was learned."""

RuleFactory = Callable[[str, Mapping[str, float], ObservationSchema, FleetCurves, bool], Policy]
"""Makes a rule from its name, parameters, observation, fleet, and whether it offers reserve."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose signature, hashes and dates were checked.

    Attributes:
        manifest: what it says.
        key_id: whose signature it carries.
        files: name -> content.
    """

    manifest: Manifest
    key_id: str
    files: Mapping[str, bytes]

    def policy(self, fleet: FleetCurves, rules: RuleFactory) -> Policy:
        """The policy for a fleet; check with :func:`require_fleet` first that it is its fleet.

        Args:
            fleet: public curves of the M cohorts that it shall command.
            rules: makes rules by name.

        Raises:
            BundleError: a learned policy for another number of cohorts, or its file cannot be loaded.
            ParamsError: a rule or parameter that is not known here.
            MissingExtraError: a learned policy without onnxruntime.
        """
        manifest = self.manifest
        return make_policy(
            manifest.agent, manifest.policy, self.files, len(manifest.cohorts), fleet, manifest.offers_reserve, rules
        )


def make_policy(
    agent: str,
    chosen: RulePolicy | NetworkPolicy,
    files: Mapping[str, bytes],
    cohorts: int,
    fleet: FleetCurves,
    offers_reserve: bool,
    rules: RuleFactory,
) -> Policy:
    """The policy of a bundle, or of what is to become one.

    Args:
        agent: its name.
        chosen: what acts.
        files: name -> content.
        cohorts: number of cohorts that it was made for.
        fleet: public curves of the M cohorts that it shall command.
        offers_reserve: whether the action has one number more.
        rules: makes rules by name.

    Raises:
        BundleError, ParamsError, MissingExtraError: as :meth:`Bundle.policy`.
    """
    observation = schema(len(fleet.models))

    def rule(named: RulePolicy) -> Policy:
        return rules(named.rule, named.params, observation, fleet, offers_reserve)

    if isinstance(chosen, RulePolicy):
        return rule(chosen)
    if len(fleet.models) != cohorts:
        raise BundleError(explain(f"a policy for {len(fleet.models)} cohorts", allowed=f"{cohorts} (bundle)"))
    return OnnxPolicy(
        agent,
        files[chosen.file],
        n_obs=observation.size,
        n_act=cohorts + int(offers_reserve),
        numbers=chosen.numbers,
        hold_steps=chosen.hold_steps,
        base=None if chosen.base is None else rule(chosen.base),
        base_scale=chosen.base_scale,
    )


def read_bundle(folder: Path, trusted_keys: TrustedKeys, now_s: float) -> Bundle:
    """Read a bundle and check everything that can be checked without a fleet.

    Args:
        folder: of the bundle; may be a link to it, such as ``current``.
        trusted_keys: from :func:`minesim.control.trust.read_trusted_keys`.
        now_s: present time, s since 1970 UTC.

    Raises:
        BundleError: unsigned, changed, of an unknown key, expired or not yet valid, of another format or schema, with a
            file too many or too few, or with a file that is none.
        MissingExtraError: the package cryptography is not installed.
    """
    place = folder.resolve()
    found = _files(place, folder)
    for name in (MANIFEST, SIGNATURE):
        if name not in found:
            raise BundleError(
                explain(f"{str(folder)!r} has no {name}", fix="Only a signed bundle of `minesim promote` is loaded.")
            )
    message = _content(place / MANIFEST, MANIFEST_MAX)
    key_id = check_signature(message, _content(place / SIGNATURE, SIGNATURE_FILE_MAX), trusted_keys)
    manifest = decode(message)
    wanted = {MANIFEST, SIGNATURE, *manifest.files}
    if found != wanted:
        odd = sorted(found ^ wanted)
        raise BundleError(
            explain(f"{str(folder)!r} has other files than its manifest says", allowed=", ".join(sorted(wanted)))
            + f" Missing or too many: {', '.join(odd)}."
        )
    _require_valid_now(manifest, now_s)
    files = {name: _content(place / name, FILE_MAX) for name in manifest.files}
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != manifest.files[name]:
            raise BundleError(
                explain(
                    f"{name} has SHA-256 {digest[:12]}...",
                    allowed=f"{manifest.files[name][:12]}...",
                    origin="manifest.json",
                    fix="The file was changed after it was signed; take an unchanged copy.",
                )
            )
    return Bundle(manifest, key_id, files)


def require_fleet(bundle: Bundle, cohorts: Sequence[CohortSpec]) -> None:
    """Check that a bundle is one for this fleet.

    A rule works for any fleet of models that the catalog knows. A learned policy works for the cohorts that it was
    judged on only: the same models with the same presets in the same order, and about as many miners of each.

    Raises:
        BundleError: another fleet; the message names what differs.
        CatalogError: a model that the catalog does not know.
    """
    here = cohort_entries(cohorts)
    if isinstance(bundle.manifest.policy, NetworkPolicy):
        differences = _differences(bundle.manifest.cohorts, here)
        if differences:
            raise BundleError(
                explain(
                    f"bundle {bundle.manifest.version!r} is for another fleet: {'; '.join(differences)}",
                    allowed="models, presets and order of its cohort map",
                    fix="Take a bundle that was promoted for this fleet, or one with a rule.",
                )
            )


def _differences(theirs: Sequence[CohortEntry], here: Sequence[CohortEntry]) -> list[str]:
    found = []
    if len(theirs) != len(here):
        found.append(f"{len(here)} cohorts here, {len(theirs)} there")
    for index, (its, mine) in enumerate(zip(theirs, here, strict=False)):
        if its.model != mine.model:
            found.append(f"cohort {index} is {mine.model!r} here, {its.model!r} there")
        elif its.table != mine.table or its.presets_w != mine.presets_w:
            found.append(f"cohort {index} ({mine.model}) has other presets (table {mine.table!r}, not {its.table!r})")
        elif abs(mine.count - its.count) > COUNT_TOLERANCE * its.count:
            found.append(f"cohort {index} ({mine.model}) has {mine.count} miners here, {its.count} there")
    return found


def _require_valid_now(manifest: Manifest, now_s: float) -> None:
    if now_s < manifest.created_at_s - CLOCK_SKEW_S:
        raise BundleError(
            explain(
                f"the bundle is of {time_text(manifest.created_at_s)}, which is not yet",
                allowed=f"made before now, {time_text(now_s)}",
                fix="Set this machine's clock.",
            )
        )
    if now_s >= manifest.expires_at_s:
        raise BundleError(
            explain(
                f"the bundle expired at {time_text(manifest.expires_at_s)}",
                allowed=f"a bundle that is valid now, {time_text(now_s)}",
                fix="Promote the policy again on a recent benchmark.",
            )
        )


def _files(place: Path, folder: Path) -> set[str]:
    try:
        entries = list(place.iterdir())
    except OSError as error:
        raise BundleError(explain(f"there is no bundle in {str(folder)!r} ({error.strerror})")) from error
    for entry in entries:
        if not stat.S_ISREG(entry.lstat().st_mode):
            raise BundleError(
                explain(f"{entry.name!r} in the bundle is a folder, a link or no plain file", allowed="plain files")
            )
    return {entry.name for entry in entries}


def _content(path: Path, largest: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise BundleError(explain(f"{path.name} cannot be read ({error.strerror})")) from error
    if len(content) > largest:
        raise BundleError(explain(f"{path.name} has over {largest} bytes", allowed=f"up to {largest}"))
    return content
