"""What a report is: a dictionary by a schema, and the identifier that names its results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

Report = dict[str, Any]
Result = dict[str, Any]
"""An entry of a report's `results`."""

SCHEMA_NAME = "softmax-ce-report/3"
SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text())


def identifier(report: Report) -> str:
    """sha256 over all that a report says of results and of what they depend on, so that identical runs have one identifier.

    The identifier itself is left out, and what depends on where a run writes: commands, which may hold paths of a machine, and
    the places of scripts. A report has no times.

    >>> identifier({"verdict": "CONFORMS", "run": {"seed": 0, "command": "pytest suites/"}})[:14]
    'sha256:ce6792b'
    """
    named = {key: value for key, value in report.items() if key != "identifier"}
    named["run"] = _without(report["run"], "command")
    named["deviations"] = [_without(deviation, "reproducer") for deviation in report.get("deviations", [])]
    named["failures"] = [
        _without(failure, "script") | {"lines": _without(failure["lines"], "repro")} for failure in report.get("failures", [])
    ]
    canonical = json.dumps(named, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(canonical.encode('ascii')).hexdigest()}"


def _without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}
