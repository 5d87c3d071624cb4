"""What a promotion takes from agents: rules by name, and trained policies as ONNX; torch only where it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agents.baselines.named import named_rule
from minesim.control.actuate import FleetCurves
from minesim.control.channels import ObservationSchema
from minesim.control.policy import Policy
from minesim.errors import MissingExtraError, explain

if TYPE_CHECKING:
    from minesim.envs.core import World
    from minesim.promote.source import Exported


class Promotable:
    """A :class:`minesim.promote.source.PolicySource`."""

    def rule(
        self,
        name: str,
        params: Mapping[str, float],
        schema: ObservationSchema,
        fleet: FleetCurves,
        offers_reserve: bool,
        /,
    ) -> Policy:
        """A rule; see :func:`agents.baselines.named.named_rule`."""
        return named_rule(name, params, schema, fleet, offers_reserve)

    def learned(self, folder: Path, world: World, *, int8: bool) -> Exported:
        """A trained policy; see :func:`agents.rl.export.export_policy`."""
        try:
            from agents.rl.export import export_policy
        except ImportError as error:
            raise MissingExtraError(
                explain(f"exporting a trained policy needs more ({error})", fix="Run: pip install 'minesim[agents]'")
            ) from error
        return export_policy(folder, world, int8=int8)
