"""The 19 facial regions: their order, their names, and how activated pixels are counted in them.

Shape letters: N images, P ordered pairs, L layers, T thresholds, R = 19 regions.
"""

# The class order of FaRL's `farl/celebm/448` parser as pyfacer names it. Left and right are the subject's own.
REGIONS = (
    "background",
    "neck",
    "face",
    "cloth",
    "rr",
    "lr",
    "rb",
    "lb",
    "re",
    "le",
    "nose",
    "imouth",
    "llip",
    "ulip",
    "hair",
    "eyeg",
    "hat",
    "earr",
    "neck_l",
)

# The paper's names of the same regions, in the same order.
REGION_TITLES = (
    "background",
    "neck",
    "face",
    "clothes",
    "right ear",
    "left ear",
    "right eyebrow",
    "left eyebrow",
    "right eye",
    "left eye",
    "nose",
    "inner mouth",
    "lower lip",
    "upper lip",
    "hair",
    "eyeglasses",
    "hat",
    "earrings",
    "necklace",
)

# CelebAMask-HQ numbers the same regions differently; entry k is its name of label k, in our names.
CELEBAMASK_HQ = (
    "background",
    "face",
    "nose",
    "eyeg",
    "le",
    "re",
    "lb",
    "rb",
    "lr",
    "rr",
    "imouth",
    "ulip",
    "llip",
    "hair",
    "hat",
    "earr",
    "neck_l",
    "neck",
    "cloth",
)

LABEL_ORDERS = {"farl": REGIONS, "celebamask_hq": CELEBAMASK_HQ}
