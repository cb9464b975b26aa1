"""Backends that sweeps of the tests run on: the numpy one, slow, deadly once, or raising; in workers of their own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from adapters.adapter import Observed
from adapters.backend_numpy import NumpyAdapter
from adapters.bulk import Bulk
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
