"""A small namespace over numpy and torch, so that every formula is written once.

A caller looks the namespace up once per step (:func:`namespace_of`) and passes it down as ``xp``. Only what both
libraries do alike is here: functional, no in-place writes, no data-dependent shapes. The wrappers exist where the two
differ in spelling or where torch refuses a Python scalar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minesim.errors import MissingExtraError, explain

Array = Any
"""A numpy array or a torch tensor; shapes are given in the docstrings."""

FEW = 8
"""Up to this many rows are summed one by one."""


@dataclass(frozen=True)
class Namespace:
    """The functions that formulas may use. ``axis`` is a keyword everywhere; scalars are allowed beside arrays."""

    name: str
    exp: Callable[[Array], Array]
    expm1: Callable[[Array], Array]
    log: Callable[[Array], Array]
    sqrt: Callable[[Array], Array]
    abs: Callable[[Array], Array]
    sign: Callable[[Array], Array]
    floor: Callable[[Array], Array]
    round: Callable[[Array], Array]
    sin: Callable[[Array], Array]
    cos: Callable[[Array], Array]
    arctan: Callable[[Array], Array]
    where: Callable[[Array, Array | float, Array | float], Array]
    minimum: Callable[[Array, Array | float], Array]
    maximum: Callable[[Array, Array | float], Array]
    clip: Callable[[Array, float | Array, float | Array], Array]
    sum: Callable[..., Array]
    add_up: Callable[[Array, Array], Array]
    """``add_up(ones, x)``: sum over the first axis, with as many ones as it is long; for one site in numpy their
    product with (N, M) costs a third of a sum."""
    add_beside: Callable[[Array, Array, Array, int], Array]
    """``add_beside(x, low, high, axis)``: x, plus ``low`` in all but the last places along axis 0 or 1, plus ``high``
    in all but the first: what the faces between neighbours add to the cells on both sides."""
    sum_last: Callable[[Array, Array], Array]
    """``sum_last(x, ones)``: the same over the last axis."""
    max: Callable[..., Array]
    min: Callable[..., Array]
    cumsum: Callable[..., Array]
    argmax: Callable[..., Array]
    argsort: Callable[..., Array]
    take_along: Callable[[Array, Array, int], Array]
    take: Callable[[Array, Array], Array]
    """``take(flat, index)``: entries of a one-dimensional table, in the shape of the index."""
    rows: Callable[[Array, Array], Array]
    """``rows(table, index)``: rows of a table."""
    broadcast: Callable[[Array, tuple[int, ...]], Array]
    """A contiguous copy in a larger shape."""
    stack: Callable[[Sequence[Array], int], Array]
    concat: Callable[[Sequence[Array], int], Array]
    zeros_like: Callable[[Array], Array]
    ones_like: Callable[[Array], Array]
    isfinite: Callable[[Array], Array]
    maybe_any: Callable[[Array], bool]
    """False only where surely no entry is true, so that work for nothing can be skipped: numpy looks, torch always
    says True (looking would stop the device)."""
    may_reach: Callable[[Array, Array | float], bool]
    """``may_reach(x, limit)``: False only where surely every entry is below every limit; otherwise as ``maybe_any``."""
    may_fall_to: Callable[[Array, float], bool]
    """``may_fall_to(x, limit)``: False only where surely every entry is above the limit."""
    cast: Callable[[Array, Array], Array]
    """``cast(x, like)``: x with the dtype of ``like``; a mask becomes ones and zeros."""
    above: Callable[[Array, Array | float], Array]
    """``above(x, y)``: 1 where x > y, else 0, in the dtype of x; NaN compares false. Arithmetic with such masks costs
    a fraction of ``where`` in both libraries."""
    below: Callable[[Array, Array | float], Array]
    """``below(x, y)``: 1 where x < y, else 0, in the dtype of x."""
    blend: Callable[[Array, Array, Array], Array]
    """``blend(mask, x, y)``: exactly x where the mask of ones and zeros is 1, else y; for finite arrays of one dtype
    (``where`` is for the rest)."""
    dot: Callable[[Array, Array], Array]
    """``dot(x, weights)``: sum of x times weights, (N,) or (N, B), over the last axis of x."""
    solve: Callable[[Array, Array], Array]
    """``solve(matrices, right)``: of (..., N, N) and (..., N, K); by elimination with pivots."""
    column: Callable[[Array], Array]
    """``column(x)``: quantities of the sites (B,) laid out to combine with (B, M); a lone number as an array without
    dimensions, which costs numpy half of a scalar beside an array."""
    index: Callable[[Array], Array]
    """Whole numbers as an index for ``take``."""
    asarray: Callable[..., Array]
    """``asarray(x, like=a)``: anything as an array with the dtype and device of ``a``."""


def _np_asarray(x: Any, like: Array) -> Array:
    return np.asarray(x, dtype=like.dtype)


def _np_stack(xs: Sequence[Array], axis: int) -> Array:
    # np.array of a list costs a third of np.stack on small arrays.
    stacked = np.array(xs)
    return stacked if axis == 0 else np.moveaxis(stacked, 0, axis)


def _np_add_beside(x: Array, low: Array, high: Array, axis: int) -> Array:
    # Written into a fresh array: a third of the cost of padding with zeros.
    total = x.copy()
    all_but_last, all_but_first = (total[:-1], total[1:]) if axis == 0 else (total[:, :-1], total[:, 1:])
    all_but_last += low
    all_but_first += high
    return total


def _np_clip(x: Array, low: Array | float, high: Array | float) -> Array:
    # Two ufuncs cost a third of np.clip's dispatch on small arrays.
    return np.minimum(np.maximum(x, low), high)


def _np_may_reach(x: Array, limit: Array | float) -> bool:
    # argmax costs a fifth of max on small arrays; it finds NaN, which compares false.
    return x.size > 0 and not x.item(x.argmax()) < (limit if isinstance(limit, float) else np.min(limit))


NUMPY = Namespace(
    name="numpy",
    exp=np.exp,
    expm1=np.expm1,
    log=np.log,
    sqrt=np.sqrt,
    abs=np.abs,
    sign=np.sign,
    floor=np.floor,
    round=np.rint,
    sin=np.sin,
    cos=np.cos,
    arctan=np.arctan,
    where=np.where,
    minimum=np.minimum,
    maximum=np.maximum,
    clip=_np_clip,
    sum=np.add.reduce,
    add_up=lambda ones, x: ones.dot(x) if x.ndim == 2 else np.add.reduce(x, axis=0),
    add_beside=_np_add_beside,
    sum_last=lambda x, ones: x.dot(ones),
    max=np.maximum.reduce,
    min=np.minimum.reduce,
    cumsum=np.add.accumulate,
    argmax=lambda x, axis: x.argmax(axis=axis),
    argsort=lambda x, axis: x.argsort(axis=axis, kind="stable"),
    take_along=lambda x, index, axis: np.take_along_axis(x, index, axis=axis),
    take=lambda flat, index: flat.take(index),
    rows=lambda table, index: table.take(index, axis=0),
    broadcast=lambda x, shape: np.ascontiguousarray(np.broadcast_to(x, shape)),
    stack=_np_stack,
    concat=lambda xs, axis: np.concatenate(xs, axis=axis),
    zeros_like=np.zeros_like,
    ones_like=np.ones_like,
    isfinite=np.isfinite,
    maybe_any=lambda x: bool(np.count_nonzero(x) if x.ndim else x),  # a third of the cost of x.any() on small arrays
    may_reach=_np_may_reach,
    # As above, argmin finds NaN.
    may_fall_to=lambda x, limit: not x.item(x.argmin()) > limit,
    cast=lambda x, like: x if x.dtype == like.dtype else x.astype(like.dtype),
    above=lambda x, y: np.greater(x, y).astype(x.dtype),
    below=lambda x, y: np.less(x, y).astype(x.dtype),
    blend=np.where,
    dot=lambda x, weights: x.dot(weights),
    solve=np.linalg.solve,
    column=lambda x: x[..., None] if x.ndim else np.asarray(x),
    index=lambda x: x.astype(np.int64),
    asarray=_np_asarray,
)


@functools.cache
def torch_namespace() -> Namespace:
    """The torch side; torch is imported on the first call only.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(
            explain("torch is not installed", fix="Install it with: pip install 'minesim[torch]'")
        ) from error

    def minimum(x: Array, y: Array | float) -> Array:
        if not isinstance(x, torch.Tensor):
            x, y = y, x
        return torch.minimum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, max=y)

    def maximum(x: Array, y: Array | float) -> Array:
        if not isinstance(x, torch.Tensor):
            x, y = y, x
        return torch.maximum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, min=y)

    def clip(x: Array, low: Array | float, high: Array | float) -> Array:
        if isinstance(low, torch.Tensor) or isinstance(high, torch.Tensor):
            return minimum(maximum(x, low), high)
        return torch.clamp(x, low, high)

    def compare(function: Callable[..., Array], x: Array, y: Array | float) -> Array:
        # Writing the comparison straight into floats costs a seventh of a boolean tensor and its conversion.
        if torch.compiler.is_compiling():
            return function(x, y).to(x.dtype)
        return function(x.detach(), y, out=torch.empty(0, dtype=x.dtype, device=x.device))

    def cast(x: Array, like: Array) -> Array:
        # Reading a mask's bytes as integers costs a fifth of converting booleans; Triton cannot, and has no need to.
        mask = x.dtype == torch.bool and not torch.compiler.is_compiling()
        return (x.view(torch.uint8) if mask else x).to(like.dtype)

    def add_up(x: Array, axis: int) -> Array:
        # A few long rows are added twice as fast one by one.
        if axis == 0 and 1 < x.shape[0] <= FEW:
            return functools.reduce(torch.add, x.unbind(0))
        return torch.sum(x, dim=axis)

    def add_beside(x: Array, low: Array, high: Array, axis: int) -> Array:
        none = torch.zeros_like(x.narrow(axis, 0, 1))
        return x + torch.cat([low, none], dim=axis) + torch.cat([none, high], dim=axis)

    return Namespace(
        name="torch",
        exp=torch.exp,
        expm1=torch.expm1,
        log=torch.log,
        sqrt=torch.sqrt,
        abs=torch.abs,
        sign=torch.sign,
        floor=torch.floor,
        round=torch.round,
        sin=torch.sin,
        cos=torch.cos,
        arctan=torch.arctan,
        where=torch.where,
        minimum=minimum,
        maximum=maximum,
        clip=clip,
        sum=add_up,
        add_up=lambda ones, x: add_up(x, 0),
        add_beside=add_beside,
        sum_last=lambda x, ones: torch.sum(x, dim=-1),
        max=lambda x, axis: torch.amax(x, dim=axis),
        min=lambda x, axis: torch.amin(x, dim=axis),
        cumsum=lambda x, axis: torch.cumsum(x, dim=axis),
        argmax=lambda x, axis: torch.argmax(x, dim=axis),
        argsort=lambda x, axis: torch.argsort(x, dim=axis, stable=True),
        take_along=lambda x, index, axis: torch.take_along_dim(x, index, dim=axis),
        take=lambda flat, index: flat.index_select(0, index.reshape(-1)).view(index.shape),
        rows=lambda table, index: table.index_select(0, index),
        broadcast=lambda x, shape: x.expand(shape).contiguous(),
        stack=lambda xs, axis: torch.stack(list(xs), dim=axis),
        concat=lambda xs, axis: torch.cat(list(xs), dim=axis),
        zeros_like=torch.zeros_like,
        ones_like=torch.ones_like,
        isfinite=torch.isfinite,
        maybe_any=lambda x: True,
        may_reach=lambda x, limit: True,
        may_fall_to=lambda x, limit: True,
        cast=cast,
        above=functools.partial(compare, torch.gt),
        below=functools.partial(compare, torch.lt),
        blend=lambda mask, x, y: torch.lerp(y, x, mask),
        dot=torch.matmul,
        solve=torch.linalg.solve,
        column=lambda x: x[..., None],
        index=lambda x: x.to(torch.int32),
        asarray=lambda x, like: torch.as_tensor(x, dtype=like.dtype, device=like.device),
    )


def namespace_of(x: Array) -> Namespace:
    """The namespace that ``x`` belongs to: numpy for arrays and numbers, torch for tensors."""
    return NUMPY if isinstance(x, (np.ndarray, np.generic, float, int)) else torch_namespace()
