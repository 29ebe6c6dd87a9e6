"""How far can this instrument be believed? Asked where the truth is known, of rendered people.

agreement   does a fill order maps as the twin does, another person in the very same picture? (Kendall's tau)
power       how often is a world of signatures, in which maps must be person-specific, found to be so, and how often
            a world of one region, in which nothing about where is person-specific, with so many people and images?
gain        how much of the true effect of regions, measured by grafts, do the largest pixels of a map hold, in
            units of what as many pixels drawn at random would?
"""

from dataclasses import dataclass

from leam.controls import CENTRE
from leam.recognisers.registry import WORLDS
from leam.sample.people import SIGNATURE

CHAIN_WORLDS = (SIGNATURE, *WORLDS)  # the first is the positive control, the others are negative ones
AGREEMENT, CHAIN_POWER, GAIN = MEASURES = ("agreement", "power", "gain")
ATTAINABLE, CENTRE_GAIN = "attainable", CENTRE  # of gains: the best pixels there are, and the centre disc
EVERYBODY, HALVES = "all", ("first half", "second half")  # of the rendered people
GAIN_PERCENT = 5.0  # the pixels of which the gain is taken
RUN_PEOPLE = (6, 12, 24, 50, 100)  # people of the runs that are drawn from the measured ones
CHAIN_CELL = ["fill", "placement", "target", "polarity"]  # what a chain is measured under
PERSON_SPECIFIC, NOT_SPECIFIC, CANNOT_TELL = ("person-specific", "not person-specific", "cannot tell")
ENOUGH_POWER, MOST_FALSE = 0.8, 0.1  # below the one "no" says nothing, above the other "yes" says nothing


@dataclass(frozen=True)
class Size:
    """How much is measured.

    people, images : of each world of the chain, and the numbers of images of a person that are tried
    true_people, true_images, donors : of the people who differ everywhere, and people who give to each of them
    side_px : of the rendered pictures
    every_map : measured with both placements and both targets, not the run's alone
    runs : drawn for each number of people
    """

    people: int
    images: tuple[int, ...]
    true_people: int
    true_images: int
    donors: int
    side_px: int
    every_map: bool
    runs: int


SIZES = {
    "quick": Size(12, (3,), 9, 3, 1, 128, every_map=False, runs=200),
    "full": Size(48, (2, 4, 8), 40, 3, 3, 192, every_map=True, runs=1000),
}
