"""What people bring: a source is one class, in the module that has its ``kind``'s name; `base` says what it answers.

Classes are loaded by name: a source that is added or changed runs nothing again in the runs of the others. Rules that
use the class carry a digest of its code beside that of their adapter.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leam.sources.base import Source


def kinds() -> list[str]:
    """What ``source.kind`` may be: the modules of this folder, but for the contract."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def source_class(kind: str) -> "type[Source]":
    """The class of a kind: ``Folder`` in ``folder``, ``ImdbFace`` in ``imdb_face``. ValueError where there is none."""
    if kind not in kinds():
        raise ValueError(f"source kind {kind!r}: expected one of {', '.join(map(repr, kinds()))}")
    return getattr(importlib.import_module(f"{__name__}.{kind}"), kind.title().replace("_", ""))


def source_of(settings: dict) -> "Source":
    """The source (`base.Source`) that settings describe: ``kind`` and its own, as `leam.config.source_settings` has
    them."""
    return source_class(settings["kind"])(settings)
