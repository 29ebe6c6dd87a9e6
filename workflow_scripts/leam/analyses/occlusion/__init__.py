"""How much similarity is lost when the pixels that a map points at are hidden (paper RQ6, RQ7)."""

PERCENTS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 5.0, 10.0)
KINDS = ("image", "own_mean", "other_mean", "population_mean", "shuffled", "centre", "random")
FREE = ("centre", "random")  # they come from no map
OTHERS = ("other_mean", "population_mean")  # they need a second identity
PLAN = ["kind", "guide", "layer", "polarity", "percent"]
MEASURES = ["pixels", "pairs", "cosine", "drop", "accepted", "lost", "untrained"]
COLUMNS = ["model", "guide", "layer", "polarity", "kind", "percent", "identity", "image", *MEASURES]
