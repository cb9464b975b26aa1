"""Runs compiled functions, which hold no lock of Python, over ranges of rows in as many threads as there are cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np

from reference.floating_state import in_default_state


def in_threads(count: int, run: Callable[[int, int], None], threads: int | None = None) -> None:
    """run(start, stop) over ranges that make up [0, count)."""
    wanted = (os.cpu_count() or 1) if threads is None else threads
    edges = np.linspace(0, count, min(wanted, count) + 1).astype(int).tolist()
    if len(edges) <= 2:
        run(0, count)
    else:
        list(_pool(os.getpid(), wanted).map(in_default_state(run), *zip(*pairwise(edges), strict=True)))


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that are kept: to start them takes as long as a batch of 10^5 logits. A fork has none of its parent's."""
    return ThreadPoolExecutor(threads)
