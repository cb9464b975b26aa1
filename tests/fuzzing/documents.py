"""The good documents that are mutated: small, and with every key that there is."""

from __future__ import annotations

import json

from suites.judging.claims import Setting
from suites.sweep.journal import encoded
from tests.reports import report, result
from tests.test_sweep_journal import HEADER, outcome, packed

REPORT = report(
    result(),
    result("softmax", quantity="softmax", dtype="float16", reached="none", worst=None, by_gap=[], by_hazard=[], role="control"),
    result("none", reached="not measured", problems=0, entries=0, left_out={"reached": "finite", "problems": 2, "entries": 0}),
    verdict="FAILS",
    failures=[{"cause": "wrong", "tests": ["test_a[f]"], "smallest": "test_a[f]", "lines": {"what": "so"}, "script": None}],
    limits=[{"operation": "softmax", "text": "K at most 64: so", "declared": {"reason": "so", "max_classes": 64}}],
    not_seen_on_this_processor=[{"deviation": "torch-absorption-loss", "at": "absorption/gap-20"}],
    environment=report()["environment"]
    | {"implementation": {"name": "f", "place": "f.py", "sha256": "1" * 64, "package": None}, "modes": ["eager", "compiled"]},
)  # fmt: skip

CASES = (
    {
        "test": "test_layout", "layout": "strided", "label_dtype": "uint8", "usage": "kept", "dtype": "float32",
        "logits": [["0x1.4p+4", "0x0p+0 * 3", 0.5, "-inf"]],
        "target": [2], "rows": 2, "temperature": 2.0, "label_smoothing": 0.5, "ignore_index": -100, "reduction": "mean",
        "class_weights": ["0x1p+0 * 6"], "cotangent": "0x1p-1", "tangent": [[1.0, "0x0p+0 * 5"]] * 2,
        "after": {"dtype": "float16", "logits": [[0.0, 1.0]], "target": [[0.5, 0.25]], "z_loss": 0.5},
    },
    {
        "test": "test_out_of_range_binary_label", "label": 1.5, "dtype": "float64", "logits": [[0.5]], "target": [[1.5]],
        "loss": "sigmoid",
    },
    {"dtype": "bfloat16", "logits": [], "target": [], "classes": 3, "reduction": "sum", "logit_softcap": 30, "tangent": []},
    {"test": "test_no_classes", "dtype": "float32", "logits": [[]], "target": [0]},
)  # fmt: skip


ROUNDED = ("0x1.00000000000000008p+0", "0x1p-1080", "0x1.fffffffffffffffp+0", 2**53 + 1)
"""Numbers that float64 has not."""

_WHERE = {"operations": ["cross_entropy"], "dtypes": ["float32", "float16"], "modes": ["eager"], "processors": ["AVX*"]}
_KNOWN = {"reason": "it is so", "link": "https://example.org", "versions": ">=2.0", "devices": ["cpu"]}
CLAIMS = {
    "processors": ["AVX2"],
    "claim": [_WHERE | {"grades": {"loss": "stable", "gradient": "accurate"}}],
    "deviation": [
        {"id": "tail", "quantities": ["loss"], "cases": ["absorption/*"], "misses": "accurate", "reaches": "finite"}
        | {"region": {"hazards": ["ties"], "min_classes": 2, "max_rows": 9, "options": ["z_loss"], "reductions": ["mean"]}}
        | _WHERE
        | _KNOWN,
        {"id": "bare", "operations": ["*"], "dtypes": ["float64"], "quantities": ["loss"], "cases": ["ties/*"]}
        | {"misses": "correct", "reason": "so"},
    ],
    "out_of_range": [{"id": "label", "labels": [-1, 1.5, "no classes"]} | _WHERE | _KNOWN],
    "limit": [
        {"operations": ["*"], "modes": ["eager"], "reason": "tiles", "dtypes": ["float32"], "devices": ["cpu"]}
        | {"derivatives": 1, "targets": ["indices"], "options": ["temperature"], "classes_multiple_of": 8, "max_classes": 64}
        | {"finite_logits": True, "overwrites": ["logits"], "usages": ["kept"], "returns": {"loss": "float32"}}
        | {"layouts": ["strided"], "label_dtypes": ["int32"], "mean_of_nothing": 0, "fixed_target": True}
        | {"reduces": "mean"}
    ],
}  # fmt: skip
SETTING = Setting("2.13.0", "cpu", "AVX2")

ENTRIES = [HEADER, *({"chunk": number, "outcome": json.loads(json.dumps(outcome(number).as_json()))} for number in range(2))]
JOURNAL = b"".join(map(encoded, ENTRIES))

PACKED = tuple(packed(content) for content in (b"", bytes(3), bytes(12), bytes(27), bytes(108), bytes(10**7)))
