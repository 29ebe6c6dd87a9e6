"""config.yaml, written from the schema (`make config`): a default, its unit and its meaning stand once."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SCHEMA_PATH = ROOT / "rules" / "schemas" / "config.schema.yaml"
CONFIG_PATH = ROOT / "config.yaml"
WIDTH = 120  # characters of a line
HEAD = """\
Every setting of a run, with its unit and meaning. This file runs as it is: the embedded, rendered sample.
A file of your own needs only what differs:  snakemake --configfile mine.yaml ...
What is allowed is in rules/schemas/config.schema.yaml; a wrong setting stops before the first job.
This file is written from there (make config); a test holds the two together.
"""


def render_config(schema: dict) -> str:
    """The text of config.yaml: sections in the schema's order, each setting below what it means."""
    lines = [f"# {line}" for line in HEAD.splitlines()]
    after_section = True
    for key, part in schema["properties"].items():
        section = "properties" in part
        if section or after_section:
            lines.append("")
        lines += _render(key, part, depth=0)
        after_section = section
    return "\n".join(lines) + "\n"


def _render(key: str, part: dict, depth: int) -> Iterator[str]:
    """The lines of one setting, or of a section and what is in it."""
    indent, meaning = "  " * depth, " ".join(part["description"].split())
    if "properties" not in part:
        unit = part.get("unit", "-")
        yield from _comment(meaning if unit == "-" else f"{meaning} [{unit}]", indent)
        yield f"{indent}{key}: {_value(part['default'])}"
        return
    head = f"{indent}{key}: # {meaning}"
    if len(head) > WIDTH:
        yield from _comment(meaning, indent)
        head = f"{indent}{key}:"
    yield head
    for name, setting in part["properties"].items():
        yield from _render(name, setting, depth + 1)


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


def _value(default: object) -> str:
    """A value on one line, as YAML."""
    text = yaml.safe_dump(default, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


if __name__ == "__main__":
    CONFIG_PATH.write_text(render_config(yaml.safe_load(SCHEMA_PATH.read_text())))
