"""One package per analysis, with its ``measure``, ``table`` and ``figure`` as far as each exists."""
