"""How a run differs from the paper's."""
