"""Backends that sweeps of the tests run on: the numpy one, slow, deadly once, or raising; in workers of their own."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from adapters.adapter import Observed
from adapters.bulk import Bulk
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from reference.quantity import Quantity


class Slow(NumpyAdapter):
    """A twentieth of a second a batch."""

    def observe_bulk(self, operation: Operation, bulk: Bulk, quantities: tuple[Quantity, ...]) -> Observed:
        time.sleep(0.05)
        return super().observe_bulk(operation, bulk, quantities)


class Deadly(NumpyAdapter):
    """Kills its process as often as the folder of DEADLY has files, one file a death."""

    def observe_bulk(self, operation: Operation, bulk: Bulk, quantities: tuple[Quantity, ...]) -> Observed:
        for path in Path(os.environ["DEADLY"]).iterdir():
            path.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().observe_bulk(operation, bulk, quantities)


class Raising(NumpyAdapter):
    """Raises."""

    def observe_bulk(self, operation: Operation, bulk: Bulk, quantities: tuple[Quantity, ...]) -> Observed:
        return Observed({}, error="RuntimeError: no")


class Rounded(NumpyAdapter):
    """Its first operation, with losses that are 100 ulps off where x_0 is in [8, 16), and 300 at 11: a hill to climb."""

    def observe_bulk(self, operation: Operation, bulk: Bulk, quantities: tuple[Quantity, ...]) -> Observed:
        seen = super().observe_bulk(operation, bulk, quantities)
        if Quantity.LOSS not in seen.values:
            return seen
        first = bulk.logits[:, 0].astype(np.float64)
        hill = np.clip(300.0 - 1000.0 * np.abs(first - 11.0), 100.0, 300.0)
        off = np.where((first >= 8) & (first < 16), hill, 0.0)
        losses = seen.values[Quantity.LOSS]
        return replace(seen, values={**seen.values, Quantity.LOSS: losses + off * bulk.format.ulp(losses)})


class Absorbing(NumpyAdapter):
    """Its first operation, with a loss of 0 where the target is more than 8 above all others."""

    def observe_bulk(self, operation: Operation, bulk: Bulk, quantities: tuple[Quantity, ...]) -> Observed:
        seen = super().observe_bulk(operation, bulk, quantities)
        if Quantity.LOSS not in seen.values:
            return seen
        x = bulk.logits.astype(np.float64)
        ahead = x[:, bulk.target] - np.delete(x, bulk.target, axis=1).max(axis=1)
        losses = np.where(ahead > 8.0, 0.0, seen.values[Quantity.LOSS])
        return replace(seen, values={**seen.values, Quantity.LOSS: losses})
