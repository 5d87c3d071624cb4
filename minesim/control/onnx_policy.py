"""A network in ONNX form as a :class:`minesim.control.policy.Policy`: numpy and onnxruntime, no torch.

The file takes ``observation`` (B, n_obs), ``held`` (B, k) and ``due`` (B, 1), all float32, and gives ``action``
(B, n_act) and ``numbers`` (B, k): where ``due`` is 1 the network decides anew, elsewhere the held numbers stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minesim.arrays import Array
from minesim.control.policy import Policy
from minesim.control.trust import BundleError
from minesim.errors import ActionError, MissingExtraError, explain

INPUTS = ("observation", "held", "due")
OUTPUTS = ("action", "numbers")


class OnnxPolicy:
    """The policy of a file.

    Args:
        name: of the policy.
        model: content of the file.
        n_obs, n_act: numbers of an observation and of an action.
        numbers: how many numbers the network decides.
        hold_steps: control steps between decisions.
        base: rule that the numbers are added to, or None.
        base_scale: factor on the numbers before they are added.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BundleError: onnxruntime cannot load the file, or it takes or gives something else.
    """

    def __init__(
        self,
        name: str,
        model: bytes,
        *,
        n_obs: int,
        n_act: int,
        numbers: int,
        hold_steps: int,
        base: Policy | None = None,
        base_scale: float = 0.0,
    ) -> None:
        self.name = name
        self.n_obs, self.n_act, self.numbers = n_obs, n_act, numbers
        self.hold_steps = hold_steps
        self.base, self.base_scale = base, base_scale
        self._session = _session(model)
        given = numbers if base is not None else n_act
        _require_shapes(self._session.get_inputs(), dict(zip(INPUTS, (n_obs, numbers, 1), strict=True)))
        _require_shapes(self._session.get_outputs(), dict(zip(OUTPUTS, (given, numbers), strict=True)))
        self._held = np.zeros((0, numbers), np.float32)
        self._age = np.zeros(0, np.int64)

    @property
    def held(self) -> Array:
        """Numbers that are held now, (B, k)."""
        return self._held

    def act(self, observation: Array) -> Array:
        """Actions (..., n_act) in [-1, 1], float32, for observations (..., n_obs).

        Raises:
            ActionError: an observation of another size, or an action that is not a number.
        """
        values = np.asarray(observation, np.float32)
        if values.shape[-1] != self.n_obs:
            raise ActionError(
                explain(
                    f"policy {self.name!r} got an observation of {values.shape[-1]} numbers",
                    allowed=f"{self.n_obs} (what it was made for)",
                )
            )
        rows = values.reshape(-1, self.n_obs)
        if len(self._held) != len(rows):
            self._held = np.zeros((len(rows), self.numbers), np.float32)
            self._age = np.zeros(len(rows), np.int64)
        due = (self._age == 0).astype(np.float32)[:, None]
        inputs = dict(zip(INPUTS, (rows, self._held, due), strict=True))
        action, self._held = self._session.run(list(OUTPUTS), inputs)
        self._age = (self._age + 1) % self.hold_steps
        if self.base is not None:
            action = np.asarray(self.base.act(rows), np.float32) + np.float32(self.base_scale) * self._held
        if not np.isfinite(action).all():
            raise ActionError(explain(f"policy {self.name!r} gave an action that is not a number"))
        return np.clip(action, -1.0, 1.0).reshape(*values.shape[:-1], self.n_act)

    def reset(self, done: Array | None = None) -> None:
        """Decide anew in the rows where ``done`` is true (all when None)."""
        if self.base is not None:
            self.base.reset(done)
        if done is None:
            self._held = self._held[:0]
        else:
            self._age = np.where(np.asarray(done, bool).reshape(-1), 0, self._age)


def _session(model: bytes) -> Any:
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise MissingExtraError(
            explain(f"a learned policy needs onnxruntime ({error})", fix="Run: pip install 'minesim[bridge]'")
        ) from error
    refusals = tuple(
        getattr(state, name)
        for name in ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except refusals as error:
        raise BundleError(explain(f"onnxruntime cannot load the policy ({str(error).splitlines()[0]})")) from error


def _require_shapes(found: Any, wanted: dict[str, int]) -> None:
    shapes = {node.name: node.shape[-1] for node in found}
    if shapes != wanted:
        raise BundleError(
            explain(f"the policy has inputs or outputs {shapes}", allowed=str(wanted), origin="policy file")
        )
