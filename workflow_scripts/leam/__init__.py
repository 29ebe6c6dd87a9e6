"""LEAM: where face recognisers look at each person, and whether that is person-specific.

Every stage is one module (``links``, ``images``, ``faces``, ``maps``, ``regions``, ...); each takes and returns
arrays, and only its outermost function touches files. Nothing here knows Snakemake, so that the same functions
serve a notebook: ``from leam import maps``.
"""

__version__ = "0.2.0"
