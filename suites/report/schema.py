"""What a report is: a dictionary by a schema, and the identifier that names its results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

Report = dict[str, Any]
Result = dict[str, Any]
"""An entry of a report's `results`."""

SCHEMA_NAME = "softmax-ce-report/2"
SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text())


def identifier(report: Report) -> str:
    """sha256 over all that a report says of results and of what they depend on, so that identical runs have one identifier.

    The identifier itself is left out, and the command, which may hold paths of a machine; a report has no times.

    >>> identifier({"verdict": "CONFORMS", "run": {"seed": 0, "command": "pytest suites/"}})[:14]
    'sha256:614d748'
    """
    named = {key: value for key, value in report.items() if key != "identifier"}
    named["run"] = {key: value for key, value in report["run"].items() if key != "command"}
    canonical = json.dumps(named, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(canonical.encode('ascii')).hexdigest()}"
