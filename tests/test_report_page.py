"""Tests of the page: nothing in it runs or is fetched, it can be heard as well as seen, its pictures say what was measured."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from reference.formats import FLOAT32, FORMATS, Format
from reference.thresholds import thresholds
from suites.report.compare import compare
from suites.report.gallery import Heat, figures, heat_maps, opened
from suites.report.markdown import markdown, summary_markdown
from suites.report.overview import Picture, Sweeps, overview
from suites.report.page import comparison_page, page
from suites.report.plots import LEFT, RIGHT, Scale, class_axis, gap_axis, panel
from suites.report.wording import CONTROLS
from tests.reports import report, result

HOSTILE = "</code><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 191 }}"
VOID = {"br", "hr", "img", "input", "link", "meta"}


class Page(HTMLParser):
    """Tags with their attributes, in order; every one must be closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def hostile() -> list[str]:
    """Pages of reports in which every free text is hostile."""
    base = report()
    deviation = base["deviations"][0] | {
        "id": HOSTILE,
        "reason": HOSTILE,
        "link": "javascript:alert(3)",
        "operations": [HOSTILE],
    }
    made = report(
        result(HOSTILE, formula=HOSTILE, bound=HOSTILE, mode=HOSTILE),
        environment=base["environment"] | {"backend": HOSTILE, "versions": {HOSTILE: HOSTILE}, "platform": HOSTILE},
        run=base["run"] | {"command": HOSTILE, "reduced_by": [HOSTILE]},
        deviations=[deviation],
        cases=[base["cases"][0] | {"case": HOSTILE, "operation": HOSTILE, "where_nothing_is_owed": [HOSTILE]}],
        out_of_range_labels=[base["out_of_range_labels"][0] | {"operation": HOSTILE, "outcome": HOSTILE}],
    )
    return [page(made), comparison_page(compare([made, report()]), [HOSTILE, "b"])]


@pytest.mark.parametrize("text", [page(report()), *hostile()], ids=["plain", "hostile", "hostile comparison"])
def test_nothing_runs_and_nothing_is_fetched(text: str) -> None:
    read = Page(text)
    assert not {"script", "img", "iframe", "object", "embed", "link", "form"} & {tag for tag, _ in read.tags}
    for tag, attributes in read.tags:
        assert not any(name.startswith("on") or name in ("src", "srcset", "style") for name in attributes), tag
    assert all(re.match(r"#|https://", str(a["href"])) for a in read.named("a"))
    assert "url(" not in text
    assert "@import" not in text
    assert str(7 * 191) not in text


def test_hostile_texts_are_shown_as_they_are() -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in hostile()[0]
    assert "(javascript:alert(3))" in hostile()[0]


@pytest.mark.parametrize("text", [page(report()), comparison_page(compare([report(), report()]), ["a", "b"])])
def test_it_can_be_heard_and_used_by_keyboard(text: str) -> None:
    read = Page(text)
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in read.tags:
        assert set(str(attributes.get("aria-labelledby", "")).split()) <= set(ids)
    assert str(read.named("a")[0]["href"]).removeprefix("#") == read.named("main")[0]["id"]
    pictures = [svg for svg in read.named("svg") if svg.get("aria-hidden") != "true"]
    assert all(svg["role"] == "img" and svg["aria-labelledby"] for svg in pictures)
    scrolling = [attributes for attributes in read.named("div") if attributes.get("class") == "scroll"]
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolling)
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(attributes.get("scope") for attributes in read.named("th"))


def test_the_verdict_comes_first_and_every_part_is_there() -> None:
    text = page(report())
    sections = ("grades", "pictures", "hazards", "worst", "deviations", "edges", "repeat")
    places = [text.index("<strong>CONFORMS"), *(text.index(f'id="{name}"') for name in sections), text.index("@misc{")]
    assert places == sorted(places)
    assert report()["identifier"] in text
    assert 'href="https://example.org/1"' in text
    assert "pytest suites/ --backend=torch --hypothesis-seed=0" in text
    assert "--operation=cross_entropy --case=" in text


def test_a_grade_below_its_claim_is_marked_and_listed() -> None:
    assert "below its claim" not in page(report())
    text = page(report(result(claimed="accurate")))
    assert "below its claim" in text
    assert "claims accurate, reaches stable" in text


def test_a_report_of_nothing_is_a_page() -> None:
    empty = {"results": [], "deviations": [], "cases": [], "out_of_range_labels": []}
    Page(page(report() | empty))


def test_the_same_report_gives_the_same_bytes() -> None:
    assert page(report()) == page(json.loads(json.dumps(report())))


def test_a_scale_keeps_what_is_outside_at_its_ends() -> None:
    scale = Scale(1.0, 4.0, 10.0, 30.0)
    assert [scale.at(value) for value in (0.0, 1.0, 2.0, 4.0, 1e300, None)] == [10.0, 10.0, 20.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=str)
def test_the_gaps_of_a_format_are_marked_in_their_order(fmt: Format) -> None:
    shown = panel("k", gap_axis(fmt), [result(dtype=fmt.name, returned_dtype=fmt.name)])
    t = thresholds(fmt)
    assert [mark.label.split()[0] for mark in shown.thresholds][0::3] == ["absorption", "exp(-gap)"]
    assert sorted(mark.at for mark in shown.thresholds) == [mark.at for mark in shown.thresholds]
    assert shown.thresholds[0].at == gap_axis(fmt).scale.at(t.absorption_gap)
    assert shown.band == (shown.thresholds[0].at, round(shown.thresholds[-1].at - shown.thresholds[0].at, 1))
    assert all(LEFT <= mark.at <= RIGHT for mark in shown.thresholds)
    assert panel("k", class_axis(fmt), [result(dtype=fmt.name, returned_dtype=fmt.name)]).band is None


def test_where_a_loss_is_lost_there_is_a_block() -> None:
    axis = gap_axis(FLOAT32)
    shown = panel("k", axis, [result()])
    ((left, width),) = shown.series[0].zeros
    assert (left, round(left + width, 1)) == (axis.scale.at(16.0), axis.scale.at(22.0))
    assert not shown.series[0].wrong
    assert "loss: worst 1.7e7 ulp at 16 to 22; 0 returned for a number that is not 0 between 16 to 22." in shown.description
    assert shown.table == (("gap", "loss"), ("16 to 22", "1.7e7, 2 lost to 0"))
    assert len(panel("k", class_axis(FLOAT32), [result()]).series[0].wrong) == 1


def test_touching_bins_are_joined_and_others_are_not() -> None:
    tally = {"values": 1, "returned_zero": 0, "wrong_class": 0, "reached": "stable"}
    bins = [{"from": a, "to": b, "worst_ulps": u, **tally} for a, b, u in ((1.0, 2.0, 1.0), (2.0, 4.0, 9.0), (8.0, 16.0, 1.0))]
    path = panel("k", gap_axis(FLOAT32), [result(by_gap=bins)]).series[0].path
    assert re.fullmatch(r"M[\d.]+ [\d.]+H[\d.]+V[\d.]+H[\d.]+M[\d.]+ [\d.]+H[\d.]+", path)


def test_losses_and_building_blocks_have_figures_of_their_own() -> None:
    both = report(result(), result(quantity="softmax"), result(dtype="float16", returned_dtype="float16"))
    first, second = figures(both)
    assert [shown.dtype for shown in first.gap_panels] == ["float32", "float16"]
    assert second.quantities == ("softmax",)


def test_the_page_opens_with_what_loses_values() -> None:
    whole = [entry | {"returned_zero": 0} for entry in result()["by_gap"]]
    sound = result("a_sound_one", by_gap=whole, by_classes=[])
    shown = figures(report(sound, result()))
    assert opened(shown) is shown[1]
    assert opened(shown[:1]) is shown[0]
    assert opened(()) is None
    assert page(report(sound, result())).count("values lost to 0") == 1


def share(grade: str, **changes: Any) -> dict[str, Any]:
    """What a hazard showed, of one problem."""
    counts = {"reached": grade, "problems": 1, "entries": 1, "worst_ulps": 2.0, "returned_zero": 0, "wrong_class": 0}
    return {"hazard": "ties"} | counts | changes


def test_the_heat_map_shows_the_lowest_grade_and_the_worst_error() -> None:
    ties = [share("accurate")]
    (map_,) = heat_maps(report(result(), result(quantity="gradient", by_hazard=ties), result("other", by_hazard=ties)))
    assert map_.hazards == ("absorption", "ties")
    ((_, rows),) = map_.groups
    assert dict(rows) == {
        "cross_entropy": (Heat("stable", "1.7e7", ""), Heat("accurate", "2.00", "")),
        "other": (None, Heat("accurate", "2.00", "")),
    }


def test_the_heat_map_says_beside_the_grade_where_a_known_deviation_goes_below_it() -> None:
    nothing = share("not measured", problems=0, entries=0, worst_ulps=0.0)
    left = {"reached": "none", "problems": 1, "entries": 1}
    made = report(
        result("lower", by_hazard=[share("stable", left_out=left)]),
        result("not_lower", by_hazard=[share("stable", left_out=left | {"reached": "stable"})]),
        result("alone", by_hazard=[nothing | {"left_out": left}]),
    )
    ((_, rows),) = heat_maps(made)[0].groups
    assert {name: cells[0] for name, cells in rows} == {
        "lower": Heat("stable", "2.00", "none"),
        "not_lower": Heat("stable", "2.00", ""),
        "alone": Heat("not measured", "", "none"),
    }
    assert page(made).count("known deviation: grade none") == 2
    assert 'class="g-not' not in page(made)


def test_main_operations_come_first_and_negative_controls_last_under_their_title() -> None:
    """In whatever order the report has them; `z` is the main one, `a` the control."""
    roles = {"a": "control", "m": "other", "z": "main"}
    base = report()
    made = report(
        *(result(name, role=role) for name, role in roles.items()),
        tolerances=[base["tolerances"][0] | {"operation": name} for name in roles],
        cases=[base["cases"][0] | {"operation": name} for name in roles],
        out_of_range_labels=[base["out_of_range_labels"][0] | {"operation": name} for name in roles],
    )
    assert [(figure.group, figure.operation) for figure in figures(made)] == [("", "z"), ("", "m"), (CONTROLS, "a")]
    assert [(title, [name for name, _ in rows]) for title, rows in heat_maps(made)[0].groups] == [
        ("", ["z", "m"]),
        (CONTROLS, ["a"]),
    ]
    sections = page(made).split("<section ")
    told = {re.findall(r'aria-labelledby="(\w+)"', section)[0]: section for section in sections if CONTROLS in section}
    assert list(told) == ["grades", "pictures", "hazards", "worst", "tolerances", "edges"]
    for section in told.values():
        last = section.rindex(CONTROLS)
        places = [re.search(rf"<code>{name}<", section) for name in ("z", "m")]
        assert all(place is not None and place.start() < last for place in places)
        assert "<code>a<" not in section[: section.index(CONTROLS)]
        assert "<code>a<" in section[last:]
    for text in (markdown(made), summary_markdown(made), overview({"torch": made}, Sweeps({}), Picture("a.svg", "told"))):
        assert text.index("`z`") < text.index("`m`") < text.index(CONTROLS) < text.index("`a`")


def test_the_cell_of_what_was_not_measured_is_plain() -> None:
    left = {"reached": "finite", "problems": 3, "entries": 7}
    text = page(report(result(reached="not measured", problems=0, entries=0, left_out=left, by_hazard=[])))
    (cell,) = re.findall(r'<td class="soft">(.*?)</td>', text, re.DOTALL)
    assert " ".join(cell.split()) == "not measured <small>known deviation: grade finite in 3</small>"


def test_words_between_backticks_are_code() -> None:
    (told,) = re.findall(r"<p>(The rtol and atol.*?)</p>", page(report()), re.DOTALL)
    assert "<code>blind from</code> is the gap" in told
    assert "`" not in told


def test_a_shadow_that_needs_no_script_shows_where_a_table_goes_on() -> None:
    """Sticky at the edge, below a cover at the end of the table, both of one width."""
    text = page(report())
    widths = re.findall(r"\.scroll::before, \.scroll::after \{[^}]* width: ([\d.]+)rem", text)
    assert re.findall(r"\.scroll::after \{[^}]*margin-left: -([\d.]+)rem", text) == widths
    assert re.search(r"\.scroll::before \{ position: sticky; right: 0; z-index: 1; background: linear-gradient", text)
    assert text.count("--shade: ") == 2, "light and dark"
