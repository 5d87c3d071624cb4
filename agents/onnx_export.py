"""What every ONNX export shares: silence, and files without traces of where they were made."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def export_bytes(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int,
) -> bytes:
    """A module as the bytes of an ONNX file that takes any number of rows; equal networks are equal bytes.

    Args:
        module: to export.
        example: its inputs, rows first; each of any number of rows but 1.
        inputs, outputs: names in the file.
        opset: version of the operators.
    """
    import onnx
    import torch

    rows = torch.export.Dim("rows")
    buffer = io.BytesIO()
    with quiet_exporter():
        torch.onnx.export(
            module,
            example,
            buffer,  # type: ignore[arg-type]  # declared a path, but it writes to files in memory too
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=opset,
            dynamic_shapes=tuple({0: rows} for _ in example),
            external_data=False,
            verbose=False,
        )
    return without_traces(onnx.load_from_string(buffer.getvalue()))


def without_traces(model: Any) -> bytes:
    """A model without what only tells where and how it was made, so that equal networks are equal files."""
    del model.metadata_props[:]
    model.doc_string = ""
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    return bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter's talk about itself from the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root", "")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
