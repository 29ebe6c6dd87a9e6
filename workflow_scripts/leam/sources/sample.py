"""The embedded sample: rendered people, whom no one has photographed."""

from collections.abc import Iterable

from leam.sample.people import SIGNATURE, supported_regions
from leam.sources.base import RENDERED, Row, Source


class Sample(Source):
    """``identities`` people with ``images`` pictures each: s000/00, s000/01, ... (wider where there are more than 1,000
    or 100, so that they sort as they count)."""

    words = "rendered people (no photographs)"
    pictures = RENDERED
    brings_labels = brings_landmarks = True

    @classmethod
    def setting_faults(cls, section: dict) -> list[str]:
        region, known = section["region"], (*supported_regions(), SIGNATURE)
        if region in (None, *known):
            return []
        return [f"source.sample.region is {region!r}; allowed: null or {' or '.join(known)}"]

    def identities(self) -> list[str]:
        return _numbered("s", self.settings["identities"], digits=3)

    def rows(self) -> Iterable[Row]:
        images = _numbered("", self.settings["images"], digits=2)
        return (Row(identity, image) for identity in self.identities() for image in images)


def _numbered(prefix: str, count: int, digits: int) -> list[str]:
    return [f"{prefix}{number:0{max(digits, len(str(count - 1)))}d}" for number in range(count)]
