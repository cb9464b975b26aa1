"""What a claims file may say, as a JSON schema: names are those of the tables in code, so that none is written twice."""

from __future__ import annotations

from adapters.arithmetic import SCHEMA as ARITHMETIC
from adapters.limits import SCHEMA as LIMIT
from reference.formats import FORMATS
from reference.grades import Grade
from reference.options import OPTIONS
from reference.quantity import Quantity
from reference.reduction import Reduction
from reference.validation import INT64, Schema, listed, names, table, text, whole
from suites.inputs.hazards import HAZARDS
from suites.judging.claims import NO_CLASSES

LONGEST_NAME, _LONGEST_LINK, _LONGEST_REASON = 200, 2000, 10_000
_MOST_ENTRIES = 10_000

_GRADE: Schema = {"enum": [grade.label for grade in Grade]}
_MISSED: Schema = {"enum": [grade.label for grade in Grade if grade > Grade.NONE]}
_PATTERNS = listed(text(LONGEST_NAME, "a name or a glob"), "a list of names or globs")
_PROCESSORS = listed(
    text(LONGEST_NAME, "a name or a glob, without spaces around it") | {"not": {"pattern": r"\A\s|\s\Z"}},
    "a list of names or globs, as the header of a run prints them",
)
_WHERE = {"operations": _PATTERNS, "dtypes": names(FORMATS, least=1), "modes": _PATTERNS, "processors": _PROCESSORS}
_KNOWN = {
    "id": text(LONGEST_NAME),
    "reason": text(_LONGEST_REASON),
    "link": text(_LONGEST_LINK),
    "versions": text(LONGEST_NAME, "specifiers, such as '>=2.0,<3'"),
    "devices": _PATTERNS,
}
"""Keys of what is known and excused."""

_REGION = table(
    {
        "hazards": names(HAZARDS, least=1),
        "min_classes": whole(),
        "min_rows": whole(),
        "max_rows": whole(),
        "options": names(OPTIONS, least=1),
        "reductions": names(Reduction, least=1),
    }
)
_GRADES: Schema = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"enum": list(map(str, Quantity))},
    "additionalProperties": _GRADE,
    "allowed": 'a table, such as { loss = "stable" }',
}
_LABEL: Schema = {
    "anyOf": [{"type": "number", "minimum": INT64[0], "maximum": INT64[1]}, {"const": NO_CLASSES}],
    "allowed": f"numbers, or {NO_CLASSES!r}",
}

_CLAIM = table(_WHERE | {"grades": _GRADES}, required=["operations", "dtypes", "grades"])
_DEVIATION = table(
    {
        **_KNOWN,
        **_WHERE,
        "quantities": names(Quantity, least=1),
        "cases": _PATTERNS,
        "misses": _MISSED,
        "reaches": _GRADE,
        "region": _REGION | {"minProperties": 1, "allowed": f"a table of {', '.join(_REGION['properties'])}"},
    },
    required=["id", "operations", "dtypes", "quantities", "cases", "misses", "reason"],
)
_OUT_OF_RANGE = table(
    {**_KNOWN, **_WHERE, "labels": listed(_LABEL, f"a list of numbers, or of {NO_CLASSES!r}")},
    required=["id", "operations", "dtypes", "labels", "reason"],
)
_LIMIT = table({**LIMIT["properties"], "operations": _PATTERNS, "modes": _PATTERNS}, required=["operations", "reason"])
_ARITHMETIC = table({**ARITHMETIC["properties"], "operations": _PATTERNS, "modes": _PATTERNS}, required=["operations"])

TABLES = {
    "claim": _CLAIM,
    "deviation": _DEVIATION,
    "out_of_range": _OUT_OF_RANGE,
    "limit": _LIMIT,
    "arithmetic": _ARITHMETIC,
}
"""The kinds of entries."""

SCHEMA = table(
    {
        "processors": _PROCESSORS,
        **{name: listed(entry, f"[[{name}]], in double brackets", 0, _MOST_ENTRIES) for name, entry in TABLES.items()},
    }
)
