"""IMDb-Face: people and links of the published list, whose pictures are fetched from the network."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from leam.sources.base import SCRAPED, Row, Source

if TYPE_CHECKING:
    import pandas as pd


class ImdbFace(Source):
    """``identities`` people, drawn with the seed from those with ``min_images`` usable rows in the list at ``path``, or
    those of ``include``; of each at most ``max_images`` links."""

    words = "people of IMDB-Face"
    pictures = SCRAPED
    needs = paths = ("path",)
    rejects = True

    def faults(self, config: dict) -> list[str]:
        """The published list must be there, and its servers are told who asks."""
        path, faults = self.settings["path"], []
        if path is not None and not Path(path).is_file():
            faults.append(f"source.imdb_face.path: no such file: {path}; allowed: the published CSV")
        if config["scraping"]["contact"] is None:
            faults.append(
                "scraping.contact is null; source.kind imdb_face needs an e-mail address or a web page of yours there, "
                "which every server asked is told"
            )
        scraping = config["scraping"]
        least = scraping["timeout_s"] * (scraping["retries"] + 1)
        if scraping["deadline_s"] < least:
            faults.append(
                f"scraping.deadline_s is {scraping['deadline_s']:g}; allowed: at least timeout_s * (retries + 1), "
                f"{least:g}, or a link that is slow once is dead"
            )
        return faults

    def count(self) -> int:
        """The list need not be read for it."""
        return len(self.settings["include"] or ()) or self.settings["identities"]

    def identities(self) -> list[str]:
        return sorted({row.identity for row in self.rows()})

    def identities_at_once(self) -> list[str] | None:
        """Those that are named; otherwise the list must be read, which has 1.7 million rows."""
        return self.settings["include"]

    def files(self) -> dict[str, str]:
        return {"list": self.settings["path"]}

    def rows(self) -> Iterable[Row]:
        return map(Row._make, self._links_and_bad_rows[0].itertuples(index=False, name=None))

    def rejected(self) -> "pd.DataFrame":
        return self._links_and_bad_rows[1]

    @functools.cached_property
    def _links_and_bad_rows(self) -> "tuple[pd.DataFrame, pd.DataFrame]":
        from leam.sources.imdb_face.published_list import choose_links

        return choose_links(self.settings)
