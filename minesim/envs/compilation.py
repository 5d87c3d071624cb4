"""Compilation of a pure function with torch, with a way back where the machine cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a pure function of tensors; where that fails it runs uncompiled, with a logged warning.

    Compilation happens at the first call (seconds) and needs a C++ compiler for the processor, Triton for a GPU.
    """
    import torch
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    fast = torch.compile(function, dynamic=False)
    usable = True

    def run(*args: Any) -> Any:
        nonlocal usable
        if usable:
            try:
                return fast(*args)
            except (TorchDynamoException, InductorError) as error:
                usable = False
                logger.warning("%s runs uncompiled: %s", function.__name__, str(error).strip().splitlines()[0])
        return function(*args)

    return run
