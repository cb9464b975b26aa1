"""What a case may say, as a JSON schema: names are those of the tables in code, so that none is written twice."""

from __future__ import annotations

from adapters.layout import LABEL_DTYPES, Layout
from adapters.usage import Usage
from reference.formats import FORMATS
from reference.options import ARGUMENTS, Array, Choice, Label, Option
from reference.validation import INT64, Schema, names, table, text, whole
from suites.inputs.exact_text import LARGEST_PROBLEM
from suites.inputs.hazards import HAZARDS

WEIGHT_COLUMNS = "weight_columns"
"""The weight of a linear layer in a case: a row for each feature, which is short where classes are alike."""

_LONGEST_NAME, _LONGEST_TEXT = 200, 10_000


def _needing(*first: str) -> Schema:
    """What an entry cannot be without: these keys, logits or a linear layer in their place, and a target."""
    needed = {"then": ("features", WEIGHT_COLUMNS), "else": ("logits",)}
    return {"if": {"required": ["features"]}} | {
        branch: {"required": [*first, *inputs, "target"]} for branch, inputs in needed.items()
    }


def _value_of(argument: Option) -> Schema:
    """What an argument of a problem may be; a number's range and an array's numbers and shape are checked by `Problem`."""
    if isinstance(argument.kind, Array):
        return {"type": ["array", "string", "number"], "allowed": "a number, or a list of numbers"}
    if isinstance(argument.kind, Choice):
        return {"enum": [member.value for member in argument.kind.members]}
    return whole(*INT64) if isinstance(argument.kind, Label) else {"type": "number", "allowed": argument.kind.allowed}


_ROWS: Schema = {
    "logits": {"type": "array", "items": {"type": "array"}, "allowed": "a list with a list of numbers for each row"},
    "target": {"type": "array", "allowed": "a list of class indices, or with a list of probabilities for each row"},
    "classes": whole(1, LARGEST_PROBLEM),
    "rows": whole(1, LARGEST_PROBLEM),
    **{argument.name: _value_of(argument) for argument in ARGUMENTS if argument.name != "weight"},
    WEIGHT_COLUMNS: {"type": "array", "items": {"type": "array"}, "allowed": "a list with the column of W for each feature"},
}
_PROBLEM: Schema = {"dtype": {"enum": list(FORMATS)}, **_ROWS}
_OBJECT: Schema = {"allowed": "an object of dtype, logits, target and more"} | _needing("dtype")

GIVEN = _OBJECT | table(
    {
        **_PROBLEM,
        "test": text(_LONGEST_NAME, "the name of a test"),
        "layout": {"enum": list(map(str, Layout))},
        "label_dtype": {"enum": list(LABEL_DTYPES)},
        "usage": {"enum": list(map(str, Usage))},
        "label": {
            "type": ["number", "string"],
            "maxLength": _LONGEST_NAME,
            "allowed": "a number, or the words that a failure prints",
        },
        "after": _OBJECT | table(_PROBLEM),
    }
)
"""A problem of --case, with the test that is to ask it."""

STORED = _needing("id", "dtypes", "hazard", "story", "provenance") | table(
    {
        "id": text(_LONGEST_NAME) | {"pattern": r"\A[a-z0-9][a-z0-9.-]*\Z", "allowed": "small letters, digits, . and -"},
        "dtypes": names(FORMATS, least=1),
        "hazard": {"enum": list(HAZARDS)},
        "story": text(_LONGEST_TEXT),
        "provenance": text(_LONGEST_TEXT),
        **_ROWS,
    }
)
"""A `[[case]]` of suites/cases/*.toml."""
