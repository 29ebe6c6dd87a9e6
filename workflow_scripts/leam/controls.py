"""What an image's own map is compared with, as files, settings and tables name it. Imports nothing."""

IMAGE = "image"  # the image's own map, which is no control
OWN_MEAN, OTHER_MEAN, POPULATION_MEAN = "own_mean", "other_mean", "population_mean"  # mean maps, by whose they are
SHUFFLED = "shuffled"  # of a network with permuted weights
CENTRE, RANDOM = "centre", "random"  # they come from no map
