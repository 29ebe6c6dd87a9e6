"""How much similarity is lost when the pixels that a map points at are hidden (paper RQ6, RQ7)."""

from leam.controls import CENTRE, IMAGE, OTHER_MEAN, OWN_MEAN, POPULATION_MEAN, RANDOM, SHUFFLED

PERCENTS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 5.0, 10.0)
KINDS = (IMAGE, OWN_MEAN, OTHER_MEAN, POPULATION_MEAN, SHUFFLED, CENTRE, RANDOM)
FREE = (CENTRE, RANDOM)  # they come from no map
OTHERS = (OTHER_MEAN, POPULATION_MEAN)  # they need a second identity
PLAN = ["kind", "guide", "layer", "polarity", "percent"]
MEASURES = ["pixels", "pairs", "cosine", "drop", "accepted", "lost", "untrained"]
COLUMNS = ["model", "guide", "layer", "polarity", "kind", "percent", "identity", "image", *MEASURES]
