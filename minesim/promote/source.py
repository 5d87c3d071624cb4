"""Where policies come from: the library never imports agents, so whoever promotes hands this in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from minesim.control.actuate import FleetCurves
from minesim.control.channels import ObservationSchema
from minesim.control.manifest import NetworkPolicy
from minesim.control.policy import Policy
from minesim.envs.core import World

POLICY_FILE = "policy.onnx"


@dataclass(frozen=True)
class Exported:
    """A learned policy in the form that a bundle carries.

    Attributes:
        policy: what the manifest says of it.
        file: content of the ONNX file.
        exact: of an 8-bit file, the float32 file that it was made of; otherwise empty.
        figures: how far it is from what was judged, by name, in units of the action.
    """

    policy: NetworkPolicy
    file: bytes
    exact: bytes = b""
    figures: Mapping[str, float] = field(default_factory=dict)


class PolicySource(Protocol):
    """Makes policies of what a benchmark run names."""

    def rule(
        self,
        name: str,
        params: Mapping[str, float],
        schema: ObservationSchema,
        fleet: FleetCurves,
        offers_reserve: bool,
        /,
    ) -> Policy:
        """A rule; see :data:`minesim.control.bundle.RuleFactory`."""
        ...

    def learned(self, folder: Path, world: World, *, int8: bool) -> Exported:
        """A trained policy.

        Raises:
            ParamsError: it cannot be exported, or is not for this world.
            DataFileError: no such policy, or its files are damaged.
        """
        ...
