"""Does LEAM find where identity is? Asked where the answer is known: of people who differ in one region only."""

from leam.controls import CENTRE, RANDOM, SHUFFLED

SEED_OFFSET = 10_000  # worlds are drawn from seeds that no recogniser was trained or measured with
SHARD = "00000"
TRAINED, GENERAL, UNTRAINED, MEAN = "trained", "general", "untrained", "mean"
RECOGNISER_CONTROLS, PIXEL_CONTROLS = (GENERAL, SHUFFLED, UNTRAINED), (RANDOM, CENTRE)
CONTROLS = (*RECOGNISER_CONTROLS, *PIXEL_CONTROLS)
