"""Does LEAM find where identity is? Asked where the answer is known: of people who differ in one region only."""

SEED_OFFSET = 10_000  # worlds are drawn from seeds that no recogniser was trained or measured with
SHARD = "00000"
TRAINED, MEAN = "trained", "mean"
RECOGNISER_CONTROLS, PIXEL_CONTROLS = ("general", "shuffled", "untrained"), ("random", "centre")
CONTROLS = (*RECOGNISER_CONTROLS, *PIXEL_CONTROLS)
