"""What every ONNX export shares: silence, and files without traces of where they were made."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any


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
