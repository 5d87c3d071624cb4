"""Processes that share the parts of a benchmark, and end with the one that began them."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

Item = TypeVar("Item")


def each(work: Callable[[Item], int], items: Sequence[Item], jobs: int) -> Iterator[tuple[Item, int]]:
    """Do all items, so many at a time, and give each with what its work returned, as they finish.

    On Ctrl-C the items at work finish, and KeyboardInterrupt is raised.

    Args:
        work: what is done; for several processes it must be importable, or a partial of such.
        items: in the order in which they begin.
        jobs: processes; one item after the other in this one for 1.
    """
    if jobs == 1:
        for item in items:
            yield item, work(item)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=begin_process) as pool:
        waiting = {pool.submit(work, item): item for item in items}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def one_thread() -> None:
    """Keep torch, where it is installed, to one thread of this process: parts share the cores as processes."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)


def begin_process() -> None:
    """Ctrl-C reaches the whole group of processes and only the main one answers it; without it no other goes on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()


def _leave_after(parent: Any) -> None:
    parent.join()
    os._exit(1)
