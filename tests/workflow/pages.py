"""What stands on the project's pages: fenced blocks, spans of code, and the commands among them."""

import re
from pathlib import Path
from typing import NamedTuple

from leam import reasons
from runs import ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md"]
# Files whose comments say how they are used.
COMMENTED = [
    ROOT / "Makefile",
    *sorted((ROOT / "docs" / "examples").glob("*.yaml")),
    *sorted((ROOT / "profiles").glob("*/config.yaml")),
    *sorted((ROOT / "rules").glob("*.smk")),
]
SHELL = ("", "sh", "bash", "console")  # languages of blocks in which every line is a command
PHRASES = re.compile(r"rule all$|use rule |as leam_\*$|before LINE$|Failed for good$")  # that look like commands
REASONS = {text for text in vars(reasons).values() if isinstance(text, str)}


class Block(NamedTuple):
    """A fenced block: ``line`` is its first within the fence, ``name`` the file that this line names, or ""."""

    page: Path
    line: int
    section: str
    language: str
    name: str
    text: str


class Command(NamedTuple):
    """One line for a shell, as a page has it."""

    page: Path
    line: int
    section: str
    text: str

    @property
    def place(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page):
    """The fenced blocks of a page, each under the heading of its section (##)."""
    found, section, begun = [], "", None
    for number, line in enumerate(page.read_text().splitlines(keepends=True), start=1):
        if line.startswith("```"):
            if begun is None:
                begun = Block(page, number + 1, section, line[3:].strip(), "", "")
            else:
                name = re.match(r"# ([\w./-]+\.\w+|Snakefile)\b", begun.text)
                found.append(begun._replace(name=name[1] if name else ""))
                begun = None
        elif begun is not None:
            begun = begun._replace(text=begun.text + line)
        elif line.startswith("## "):
            section = line[3:].strip()
    assert begun is None, f"{page.name}:{begun.line}: the block has no end"
    return found


def section_blocks(page, section):
    return [block for block in blocks(page) if block.section == section]


def body(block):
    """A block less the line that names its file."""
    return block.text.partition("\n")[2] if block.name else block.text


def spans(page):
    """[(line, section, text)] of the spans of code outside of a page's blocks."""
    text = _prose(page) if page.suffix == ".md" else _comments(page)
    sections = [(0, ""), *((found.start(), found[1]) for found in re.finditer(r"^## (.*)$", text, re.M))]
    found = []
    for paragraph in re.finditer(r"(?:.+\n?)+", text):
        assert paragraph[0].count("`") % 2 == 0, f"{page.name}: a span has no end in {paragraph[0]!r}"
        for span in re.finditer("`([^`]+)`", paragraph[0]):
            start = paragraph.start() + span.start()
            section = next(name for place, name in reversed(sections) if place <= start)
            found.append((text.count("\n", 0, start) + 1, section, " ".join(span[1].split())))
    return found


def _prose(page):
    lines = page.read_text().splitlines()
    for block in blocks(page):
        count = block.text.count("\n")
        lines[block.line - 2 : block.line + count] = [""] * (count + 2)  # with its fences
    return "\n".join(lines)


def _comments(page):
    lines = page.read_text().splitlines()
    return "\n".join(line.lstrip()[1:] if line.lstrip().startswith("#") else "" for line in lines)


def commands():
    """Every command of the pages: lines of blocks for a shell, spans that begin as a command does, and what comments at
    the head of a file begin with."""
    found = []
    for page in PAGES:
        for block in blocks(page):
            if block.language in SHELL:
                for number, line in enumerate(block.text.splitlines(), start=block.line):
                    command, *aside = re.split(r"(?:^| )#.*?(?=make [a-z-]+ [A-Z]+=|$)", line)
                    found += [Command(page, number, block.section, text) for text in (command, *aside)]
    for page in (*PAGES, *COMMENTED):
        found += [Command(page, *span) for span in spans(page) if _is_command(span[2])]
    for page in COMMENTED:
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            if told := re.match(r"#\s+((?:snakemake|python) .*?)(?:: |$)", line):
                found.append(Command(page, number, "", told[1]))
            if page.name == "Makefile" and line.startswith("#"):
                targets = re.findall(r"\bmake [a-z][a-z-]*(?: [A-Z]+=\S+)*", line)
                found += [Command(page, number, "", target) for target in targets]
    return [command._replace(text=command.text.strip()) for command in found if command.text.strip()]


def _is_command(text):
    """Whether a span is a command with its arguments, or options of one: nothing else has words set apart by spaces
    after a first one in small letters."""
    return bool(re.match(r"(?:\.\.\. )?--?[a-z]|[a-z.~/][\w.~/-]* ", text)) and not (
        PHRASES.match(text) or text in REASONS
    )
