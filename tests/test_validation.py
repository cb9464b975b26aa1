"""Tests of the sentence that a schema's refusal is: what was given, what is allowed, the nearest name, and nothing too long."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from reference.validation import check, first_error, names, sentence, text, validator, whole

PART = {
    "type": "object",
    "required": ["dtypes", "reason"],
    "properties": {
        "dtypes": names(["float32", "float16"]),
        "reason": text(20),
        "rows": whole(1, 9),
        "count": whole(),
        "share": {"type": "number", "exclusiveMinimum": 0},
        "size": {"type": "integer", "minimum": 2},
        "kind": {"type": ["string", "null"]},
        "flag": {"type": "boolean"},
        "label": {"anyOf": [{"type": "number"}, {"const": "none"}], "allowed": "a number, or 'none'"},
        "either": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"rows": whole(1, 9)}}]},
        "returns": {"type": "object", "maxProperties": 2, "propertyNames": {"enum": ["loss", "gradient"]}},
        "same": {"const": 3},
        "pairs": {"type": "array", "minItems": 1, "uniqueItems": True},
    },
    "additionalProperties": False,
}
STRICT = validator({"type": "object", "properties": {"part": {"type": "array", "items": PART}}, "additionalProperties": False})
GOOD = {"dtypes": ["float32"], "reason": "so it is"}
LONG = "a" * 10**6


def told(given: Any) -> str:
    """What is said of a document; empty if it is taken."""
    error = first_error(STRICT, given)
    return "" if error is None else sentence(error)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"dtypes": ("float16", "float32")},
        {"dtypes": []},
        {"rows": 9, "count": 2**63 - 1, "share": 1, "label": 0.5, "same": 3},
        {"share": 1e-300, "label": "none", "kind": None, "either": None, "flag": False},
        {"reason": "é ∑ 'so'", "returns": {"loss": 5}, "either": {"rows": 2}, "pairs": [1, 2]},
    ],
    ids=str,
)
def test_what_a_schema_allows_is_taken(keys: dict[str, Any]) -> None:
    assert not told({"part": [GOOD | keys]})


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"dtype": ["float32"]}, "part[0]: unknown keys ['dtype']; allowed: dtypes, reason, rows, "),
        ({"dtypes": "float32"}, "part[0].dtypes is 'float32'; allowed: a list of float32, float16"),
        ({"dtypes": ["flaot32"]}, "part[0].dtypes 'flaot32' is not known; allowed: float32, float16; the nearest is 'float32'"),
        ({"dtypes": [5]}, "part[0].dtypes 5 is not known; allowed: float32, float16"),
        ({"dtypes": [["float32"]]}, "part[0].dtypes ['float32'] is not known; allowed: float32, float16"),
        (
            {"dtypes": ["float32", "float32"]},
            "part[0].dtypes is ['float32', 'float32']; allowed: a list of float32, float16, each at most once",
        ),
        ({"dtypes": ["float32"] * 2000}, "part[0].dtypes has 2000 entries; allowed: at most 1000; given: ['float32', "),
        ({"reason": 5}, "part[0].reason is 5; allowed: a text of one line that is not empty"),
        ({"reason": date(2026, 1, 2)}, "part[0].reason is datetime.date(2026, 1, 2); allowed: a text of one line"),
        ({"reason": ""}, "part[0].reason is ''; allowed: a text of one line that is not empty"),
        ({"reason": " \t"}, r"part[0].reason is ' \t'; allowed: a text of one line"),
        ({"reason": "a\nb"}, r"part[0].reason is 'a\nb'; allowed: a text of one line"),
        ({"reason": "a\n"}, r"part[0].reason is 'a\n'; allowed: a text of one line"),
        ({"reason": "a\x00"}, r"part[0].reason is 'a\x00'; allowed: a text of one line"),
        ({"reason": "a\u202eb"}, r"part[0].reason is 'a\u202eb'; allowed: a text of one line"),
        ({"reason": LONG}, "part[0].reason has 1000000 characters; allowed: at most 20; given: 'aaaa"),
        ({"rows": 0}, "part[0].rows is 0; allowed: a whole number from 1 to 9"),
        ({"rows": 2.0}, "part[0].rows is 2.0; allowed: a whole number from 1 to 9"),
        ({"rows": True}, "part[0].rows is True; allowed: a whole number from 1 to 9"),
        ({"count": 2**63}, "part[0].count is 9223372036854775808; allowed: a whole number from 0 on"),
        ({"share": float("nan")}, "part[0].share is nan; allowed: a finite number"),
        ({"share": float("inf")}, "part[0].share is inf; allowed: a finite number"),
        ({"share": True}, "part[0].share is True; allowed: a finite number"),
        ({"share": 0}, "part[0].share is 0; allowed: more than 0"),
        ({"size": 1}, "part[0].size is 1; allowed: 2 or more"),
        ({"kind": 1}, "part[0].kind is 1; allowed: a text, or null"),
        ({"flag": 1}, "part[0].flag is 1; allowed: true, false"),
        ({"label": "nothing"}, "part[0].label is 'nothing'; allowed: a number, or 'none'"),
        ({"either": {"rows": 10}}, "part[0].either.rows is 10; allowed: a whole number from 1 to 9"),
        ({"returns": {"lose": 1}}, "part[0].returns 'lose' is not known; allowed: loss, gradient; the nearest is 'loss'"),
        ({"returns": dict.fromkeys("abc", 1)}, "part[0].returns has 3 keys; allowed: at most 2"),
        ({"same": 4}, "part[0].same is 4; allowed: 3"),
        ({"pairs": []}, "part[0].pairs is []; allowed: 1 entries or more"),
        ({"pairs": [1, 1]}, "part[0].pairs is [1, 1]; allowed: each entry once"),
        ({LONG: 1}, "part[0]: unknown keys ['aaa"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_a_schema_refuses_is_said_in_a_sentence(keys: dict[str, Any], says: str) -> None:
    sentences = told({"part": [GOOD | keys]})
    assert sentences.startswith(says)
    assert len(sentences) < 500


def test_a_missing_key_is_told_after_the_misspelt_one() -> None:
    assert told({"part": [{"reason": "why", "dtype": []}]}).endswith("; the nearest is 'dtypes'")
    assert told({"part": [GOOD, {"reason": "why"}]}) == "part[1]: 'dtypes' is missing; needed: dtypes, reason"
    assert told({"part": [{"reason": "why"}], "parts": 1}) == "unknown keys ['parts']; allowed: part; the nearest is 'part'"
    assert told([]) == "it is []; allowed: a table of keys"


def test_a_key_that_is_no_name_is_quoted() -> None:
    odd = validator({"additionalProperties": {"type": "integer"}})
    with pytest.raises(ValueError, match=r"^'a\.b' is 'x'; allowed: a whole number$"):
        check(odd, {"a.b": "x"})
    with pytest.raises(ValueError, match=r"^a-b is \[\]; allowed: a whole number$"):
        check(odd, {"a-b": []})


def test_who_tells_the_place_leaves_it_out() -> None:
    error = first_error(STRICT, {"part": [GOOD | {"rows": 0}]})
    assert error is not None
    assert list(error.absolute_path) == ["part", 0, "rows"]
    assert sentence(error, skip=2) == "rows is 0; allowed: a whole number from 1 to 9"


def nested(depth: int) -> Any:
    within: Any = 1
    for _ in range(depth):
        within = {"a": within}
    return within


@pytest.mark.parametrize("given", [nested(10**5), 16**10**4], ids=["deep", "long"])
def test_what_python_cannot_write_is_no_traceback(given: Any) -> None:
    """A value where it may stand, and where an error quotes it."""
    for document in ({"part": [GOOD | {"reason": given}]}, {"part": [GOOD | {"returns": {"loss": given}}], "x": given}):
        assert len(sentence_or_refusal(document)) < 500


def sentence_or_refusal(given: Any) -> str:
    with pytest.raises(ValueError, match=r"nested too deeply|unknown keys \['x'\]") as error:
        check(STRICT, given)
    return str(error.value)
