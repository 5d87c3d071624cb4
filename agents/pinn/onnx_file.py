"""A surrogate as an ONNX file: four named inputs in SI units, the rise of all cells out, everything else inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from agents.onnx_export import export_bytes
from agents.pinn.steady import Floats, RoomSettings
from agents.pinn.surrogate import Surrogate, rows_of
from minesim.bench.files import write_whole
from minesim.errors import MissingExtraError, ParamsError, explain

OPSET = 18
INPUTS = ("flows_m3_per_s", "heat_w", "supply_rise_k", "rho_cp_j_per_m3_k")
OUTPUT = "rise_k"
TOLERANCE_K = 1e-4
"""Largest difference between file and torch that is let through."""


def export_surrogate(path: Path, surrogate: Surrogate, settings: RoomSettings) -> float:
    """Export a network and check the file against it.

    Args:
        path: ``.onnx`` file.
        surrogate: the network.
        settings: on which both are compared.

    Returns:
        Largest difference of any cell, K.

    Raises:
        ParamsError: the file does not give what torch gives; nothing is written.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    content = _export(surrogate)
    gap = float(np.abs(OnnxSurrogate(content).rise_k(settings) - surrogate.rise_k(settings)).max())
    if not gap <= TOLERANCE_K:
        raise ParamsError(
            explain(
                f"the exported file differs from torch by {gap:.2g} K", allowed=f"{TOLERANCE_K:g} K", origin=path.name
            )
        )
    write_whole(path, lambda beside: _put(beside, content))
    return gap


class OnnxSurrogate:
    """An exported surrogate, run without torch's network.

    Args:
        content: the file, or its path.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, content: bytes | Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError(
                explain("running the file needs onnxruntime", fix="Run: pip install 'minesim[pinn]'")
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = content if isinstance(content, bytes) else str(content)
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def rise_k(self, settings: RoomSettings) -> Floats:
        """Rise over outdoors, batch last, (nx, ny, B), K."""
        feeds = {name: part.numpy() for name, part in zip(INPUTS, rows_of(settings), strict=True)}
        (rise,) = self.session.run([OUTPUT], feeds)
        return np.moveaxis(np.asarray(rise), 0, -1)


def _export(surrogate: Surrogate) -> bytes:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 - the exporter needs it
    except ImportError as error:
        raise MissingExtraError(
            explain(f"exporting needs onnx and onnxscript ({error})", fix="Run: pip install 'minesim[pinn]'")
        ) from error
    sizes = (surrogate.groups + surrogate.fans + surrogate.dampers, surrogate.groups, 1, 1)
    example = tuple(torch.ones(3, size) for size in sizes)
    return export_bytes(surrogate.eval(), example, INPUTS, [OUTPUT], OPSET)


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
