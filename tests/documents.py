"""The documents that a reader is sent to, and what is in them: headings, code blocks, commands, tables and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from tests.command import ROOT

_FENCE = re.compile(r"^( *)```(.*)$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PROGRAMS = ("pytest", "python", "python3", "pip", "bash")


@dataclass(frozen=True)
class Block:
    """A fenced block: where its first line stands, the word after the fence, and its lines."""

    document: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands, and its language."""
        return f"{self.document}:{self.line}:{self.language or 'no language'}"


@dataclass(frozen=True)
class Document:
    """A Markdown file, by its path from the root."""

    name: str

    @cached_property
    def text(self) -> str:
        """All of it."""
        return (ROOT / self.name).read_text()

    @cached_property
    def flowing(self) -> str:
        """All of it with single spaces, so that a phrase is found wherever its lines break."""
        return " ".join(self.text.split())

    @cached_property
    def _lines(self) -> list[tuple[str, Block | None]]:
        """Its lines, each with the block that it belongs to, fences included."""
        found: list[tuple[str, Block | None]] = []
        lines = self.text.splitlines()
        at = 0
        while at < len(lines):
            fence = _FENCE.match(lines[at])
            if not fence:
                found.append((lines[at], None))
                at += 1
                continue
            indent, language = fence.groups()
            end = next(i for i in range(at + 1, len(lines)) if lines[i] == f"{indent}```")
            inside = [line.removeprefix(indent) for line in lines[at + 1 : end]]
            block = Block(self.name, at + 2, language.strip(), "".join(f"{line}\n" for line in inside))
            found += [(line, block) for line in lines[at : end + 1]]
            at = end + 1
        return found

    @property
    def blocks(self) -> list[Block]:
        """Its fenced blocks, in their order."""
        return list(dict.fromkeys(block for _, block in self._lines if block))

    def blocks_in(self, language: str) -> list[Block]:
        """Its fenced blocks of a language."""
        return [block for block in self.blocks if block.language == language]

    def block(self, language: str, mark: str) -> Block:
        """The one block of a language that has a mark in it."""
        (found,) = [block for block in self.blocks_in(language) if mark in block.text]
        return found

    @property
    def prose(self) -> list[str]:
        """Its lines outside fenced blocks."""
        return [line for line, block in self._lines if block is None]

    @property
    def headings(self) -> list[str]:
        """Its headings, in their order."""
        return [line.lstrip("#").strip() for line in self.prose if line.startswith("#")]

    @property
    def anchors(self) -> set[str]:
        """The places that a link may name: headings as GitHub spells them."""
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in self.headings}

    @property
    def links(self) -> list[str]:
        """Targets of its links and pictures."""
        return _LINK.findall("\n".join(self.prose))

    @property
    def commands(self) -> list[str]:
        """Commands in its prose: `pytest ...`, `python ...`, `pip ...` and `bash ...` between backticks."""
        said = re.findall(r"`([^`\n]+)`", "\n".join(self.prose))
        return [words for words in said if words.split()[0] in _PROGRAMS and len(words.split()) > 1]

    def section(self, heading: str) -> str:
        """What stands under a heading, up to the next of its level or above, without fenced blocks."""
        lines = self.prose
        (start,) = [i for i, line in enumerate(lines) if line.startswith("#") and line.lstrip("#").strip() == heading]
        level = len(lines[start]) - len(lines[start].lstrip("#"))
        ends = (i for i in range(start + 1, len(lines)) if re.match(rf"#{{1,{level}}} ", lines[i]))
        return "\n".join(lines[start + 1 : next(ends, len(lines))])

    def tables(self, heading: str) -> list[list[list[str]]]:
        """The tables under a heading: their rows without the head, cells without backticks."""
        runs = re.findall(r"(?:^\|.*\n?)+", self.section(heading), flags=re.MULTILINE)
        return [[_cells(line) for line in run.strip().splitlines()[2:]] for run in runs]

    def table(self, heading: str) -> list[list[str]]:
        """The first table under a heading."""
        return self.tables(heading)[0]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("`", "") for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


README, CONTRIBUTING, CHANGELOG = (Document(name) for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))
EXAMPLES = Document("adapters/EXAMPLES.md")
ADAPTERS, REFERENCE, SUITES, TESTS, CI = (
    Document(f"{folder}/README.md") for folder in ("adapters", "reference", "suites", "tests", "ci")
)
_FOLDERS = ("adapters", "ci", "reference", "suites", "tests")
_PATHS = [*ROOT.glob("*.md"), *(path for folder in _FOLDERS for path in (ROOT / folder).rglob("*.md"))]

RECIPES = ("uses: OWNER", "extends:", "runs-on:", "repo: local")
"""What each block of YAML in ci/README.md has in it, and no other."""

DOCUMENTS = [Document(path.relative_to(ROOT).as_posix()) for path in sorted(_PATHS)]
"""Every Markdown file of the project, those that programs write too."""
