"""Names that are more than names to somebody: to a spreadsheet, a browser, a shell, a formula, a log, a file system."""

import random
import unicodedata
from collections.abc import Callable

# Each is a name by itself, and a piece of longer ones.
PIECES = [
    # formulas of spreadsheets
    "=1+1", "+1", "-2+3", "@SUM(A1)", "=HYPERLINK(\"x\")", "＝1+1", "'=1", "''@x", " =1", "\t=1", "\r=1", "-0.3",
    # pages
    "</script><script>alert(1)</script>", "<!--<script>", "]]>", "&lt;b&gt;", "\"'", "<img src=x onerror=y>",
    "{{DATA}}",
    # formulas and templates
    "$\\bad{$", "$x^2$", "\\frac{1}", "%s %(x)s", "{x}", "{0!r}", "{{y}}", "{{ 7 * 7 }}", "{% raw %}", "a_", "`ls`",
    ":x:`y`",
    # shells
    "$(id)", ";id", "|id", "&& id", "-rf", "--help", "~", "*", "?", "[a-z]", "\\", "\\n", "\\x1b", "a\\", "C:\\a",
    "!x", "#x",
    # paths and separators of fields
    "..a", "a..", " a", "a ", " ", "%2F", "%00", "%", "%25", "a.b", "a,b", "a;b", "a|b", "a:b", "'", "\"", "\"a",
    "a\"\"b", ",",
    # ends of lines and escapes of terminals
    "a\nb", "\n", "a\r\nb", "a\rb", "\ta", "a\x0bb", "a\x0cb", "\x1b[31mred", "\x1b]0;title\x07", "\x7f", "\x85",
    "a\x08b",
    # direction, width and nothing at all
    "\u202eabc", "\u2066a", "\u200b", "\u200d", "\u2028", "\u2029", "\ufeff", "�", "\xa0", "\u0301", "a\u0300\u0301",
    # forms and letters
    "e\u0301", "é", "A", "a", "ß", "SS", "İ", "ı", "ﬁ", "王", "محمد", "\u0928\u092e\u0938\u094d\u0924\u0947", "😀",
    "\U0001f469\u200d\U0001f52c", "\U0010fffd", "\ue000",
    # words that outputs have themselves
    "discarded", "ledger", "all", "full", "unknown", "image", "random", "none", "population", "facial", "identity",
    "index",
    # numbers and nothing, to a reader of tables
    "NA", "nan", "NaN", "None", "null", "NULL", "N/A", "True", "false", "inf", "-inf", "1e5", "007", "0", "1.0",
    "0x10", "1_000",
    # lines of logs
    "s000 (1 of 2): 3 images\nWARNING: forged", "Error in rule all:\n    output: x", "ERROR: x\r",
    "x\n\nTraceback (most recent",
    # files, and what JavaScript objects have
    "con", "nul", "a.h5", "a.part", "a.journal", "00000", "x.regions", "__proto__", "constructor", "toString",
    "__class__",
]  # fmt: skip


def _grown(draw: random.Random, sign: str, most: int) -> str:
    return sign * (draw.randint(most // 2, most) // len(sign.encode()))


def hostile_names(count: int, seed: int, most: int = 200, allowed: Callable[[str], bool] = bool) -> list[str]:
    """``count`` names of at most ``most`` bytes, all different: first each of PIECES, then pieces put together, long
    ones, and twins by case and by Unicode form; only those that are ``allowed``."""
    draw, found = random.Random(seed), {}
    for piece in draw.sample(PIECES, len(PIECES)):
        found[piece] = None
    while len(found) < 4 * count:
        name = "".join(draw.choices(PIECES, k=draw.randint(2, 4)))
        kinds = (name, name.swapcase(), unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name))
        found |= dict.fromkeys([*kinds, _grown(draw, draw.choice("x=é王😀"), most)])
    usable = [name for name in found if 0 < len(name.encode()) <= most and allowed(name)]
    return usable[:count]


def is_file_name(name: str) -> bool:
    """Whether a folder can have it, and a source sees it: hidden ones are left out."""
    return "/" not in name and "\0" not in name and not name.startswith(".")


def is_module_name(name: str) -> bool:
    """Whether PyTorch takes it for a part of a network."""
    return bool(name) and "." not in name and not name.startswith("__")
