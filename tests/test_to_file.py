"""The findings that are ready to file: each script prints what its page shows as observed, and not what is right."""

from __future__ import annotations

import contextlib
import io
import re
import tomllib
from pathlib import Path

import pytest

from tests.command import ROOT
from tests.documents import DOCUMENTS, Document

TO_FILE = ROOT / "ci" / "reports" / "to-file"
PAGES = [document for document in DOCUMENTS if "/to-file/torch" in document.name]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: Path(page.name).stem)
def test_a_script_prints_what_its_page_shows(page: Document) -> None:
    torch = pytest.importorskip("torch")
    assert f"Versions: torch {torch.__version__.partition('+')[0]} " in page.text
    script, observed, right = (block.text for block in page.blocks)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(script, page.name, "exec"), {})
    assert printed.getvalue().splitlines() == observed.splitlines()
    assert observed != right
    assert observed.count("\n") == right.count("\n")


def test_the_contents_name_every_page_and_deviations_without_a_thread() -> None:
    contents = (TO_FILE / "README.md").read_text()
    assert sorted(re.findall(r"\(([\w-]+\.md)\)", contents)) == sorted(Path(page.name).name for page in PAGES)
    named = set(re.findall(r"`(torch-[\w-]+)`", contents))
    claims = tomllib.loads((TO_FILE.parents[1] / "claims" / "torch.toml").read_text())
    links = {deviation["id"]: deviation.get("link") for deviation in claims["deviation"]}
    assert {name: links[name] for name in named} == dict.fromkeys(named)
