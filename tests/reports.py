"""Reports for tests: a small one made by hand, valid by the schema, and ways to change and store it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from suites.judging.outcomes import Ending, FailedTest, Outcomes
from suites.report.schema import SCHEMA_NAME, Report, Result, identifier

TOLERANCE = {
    "operation": "cross_entropy",
    "dtype": "float32",
    "quantity": "loss",
    "grade": "stable",
    "classes": 10,
    "gap": 20.0,
    "rtol": 1.2e-7,
    "atol": 1.4e-6,
    "measured_rtol": 6e-8,
    "measured_atol": 7e-7,
    "blind_from": 13.4,
}
GAP_BIN = {
    "from": 16.0,
    "to": 22.0,
    "values": 3,
    "worst_ulps": 2.0**24,
    "returned_zero": 2,
    "wrong_class": 0,
    "reached": "stable",
}


def result(operation: str = "cross_entropy", **changes: Any) -> Result:
    """A result of a float32 loss that absorbs."""
    wrong = {"worst_ulps": 2.0**24, "returned_zero": 2, "wrong_class": 1}
    return {
        "operation": operation,
        "formula": "F.cross_entropy(x, index)",
        "mode": "eager",
        "role": "main",
        "dtype": "float32",
        "returned_dtype": "float32",
        "quantity": "loss",
        "claimed": "stable",
        "reached": "stable",
        "method": "searched",
        "problems": 5,
        "entries": 5,
        "left_out": {"reached": "not measured", "problems": 0, "entries": 0},
        "returned_zero": 2,
        "returned_nonzero": 0,
        "wrong_class": 1,
        "worst_ulps": 2.0**24,
        "worst_error_over_stable_bound": 0.5,
        "bound": "float32 arithmetic, pairwise sum",
        "worst": {
            "index": [0],
            "expected": "0x1.1b48655f37267p-29",
            "correctly_rounded": "0x1.1b48660000000p-29",
            "observed": "0x0.0p+0",
            "absolute_error": 2.06e-9,
            "problem": {"dtype": "float32", "logits": [["0x1.4p+4", "0x0.0p+0"]], "target": [0]},
        },
        "by_gap": [GAP_BIN],
        "by_classes": [{"from": 2, "to": 4, "values": 5, "reached": "stable", **wrong}],
        "by_hazard": [{"hazard": "absorption", "reached": "stable", "problems": 5, "entries": 5, **wrong}],
    } | changes


def report(*results: Result, **changes: Any) -> Report:
    """A report of torch with these results, one unless told otherwise; `changes` replace keys of the top."""
    made: Report = {
        "schema": SCHEMA_NAME,
        "identifier": "",
        "suite": {"name": "softmax-ce-conformance", "version": "0.1.0"},
        "verdict": "CONFORMS",
        "reason": "10 tests passed; every claim held",
        "environment": {
            "backend": "torch",
            "implementation": None,
            "versions": {"torch": "2.13.0"},
            "device": "cpu",
            "modes": ["eager"],
            "python": "3.11.7",
            "platform": "Linux x86_64",
            "packages": {"hypothesis": "6.170.15"},
        },
        "run": {"command": "pytest suites/ --backend=torch", "seed": 0, "effort": "standard", "reduced_by": []},
        "tests": {"passed": 10, "failed": 0},
        "failures": [],
        "outcomes": {"test_loss": {"passed": ["cross_entropy-float32"]}},
        "results": list(results) or [result()],
        "tolerances": [TOLERANCE],
        "deviations": [
            {
                "id": "torch-absorption-loss",
                "misses": "accurate",
                "reason": "log(sum) is 0",
                "link": "https://example.org/1",
                "operations": ["cross_entropy"],
                "dtypes": ["float32"],
                "modes": ["*"],
                "quantities": ["loss"],
                "seen_at": ["absorption/gap-20[float32]"],
                "reproducer": "reproducers/torch-absorption-loss.py",
            }
        ],
        "cases": [
            {
                "case": "masked/all",
                "operation": "cross_entropy",
                "dtype": "float32",
                "quantity": "loss",
                "claimed": "stable",
                "reached": "correct",
                "deviations": [],
                "where_nothing_is_owed": ["NaN"],
            }
        ],
        "out_of_range_labels": [
            {"operation": "cross_entropy", "dtype": "float32", "label": -1, "outcome": "raised IndexError"}
        ],
    }
    made |= copy.deepcopy(changes)
    return made | {"identifier": identifier(made)}


def ending(exit_status: int = 0, collected: int = 0, said: str = "", **counts: int) -> Ending:
    """How a run ended of whose tests so many passed, failed and so on; each way to fail is a cause."""
    outcomes = Outcomes(skipped_for="no hazard is left")
    for way, count in counts.items():
        outcomes.ended[way] = [f"test_{way}[{number}]" for number in range(count)]
        for test in outcomes.ended[way] if way in ("failed", "error") else ():
            outcomes.add_failure(FailedTest(test, way, {"what": "it is wrong"}))
    return Ending(exit_status, collected or sum(counts.values()), outcomes, said)


def stored(made: Report, path: Path) -> Path:
    """The path, to which the report was written."""
    path.write_text(json.dumps(made))
    return path
