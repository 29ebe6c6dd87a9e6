"""CelebAMask-HQ: CelebA-HQ-img/N.jpg, and CelebAMask-HQ-mask-anno/(N div 2000)/NNNNN_part.png per part seen."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from leam import reasons
from leam.sources.base import PICTURE_SUFFIXES, DataSet, People

# The files of the part masks; part k has the label k + 1, and later ones lie over earlier ones.
MASK_PARTS = (
    *("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear"),
    *("mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
)
MASKS = "CelebAMask-HQ-mask-anno"
MASKS_PER_FOLDER = 2000
PICTURES = "CelebA-HQ-img"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"


class CelebamaskHq(DataSet):
    """CelebA's identities, padded to five digits: picture number -> CelebA's file (``mapping``, null for the one in the
    folder) -> its identity (``identities``, a file)."""

    words = "people of CelebAMask-HQ"
    needs = ("path", "identity_file")
    paths = ("path", "identity_file", "mapping_file")
    brings_labels = True

    def people(self) -> People:
        """Raises ValueError for a missing file, a line of another form, or where no picture has a known identity."""
        people = defaultdict(list)
        for name, identity in self._identities().items():
            people[identity].append(name)
        people.pop("", None)
        if not people:
            raise ValueError(
                f"source celebamask_hq: {self._lists} have no identity of any picture in {self.folder / PICTURES}"
            )
        return dict(people)

    def unused(self) -> Iterator[tuple[str, str]]:
        """Pictures of which no identity is known, and files that are none."""
        found = self._identities()
        for name in self._files():
            if not found.get(name):
                reason = f"no identity of it in {self._lists}" if name in found else "no picture"
                yield f"{PICTURES}/{name}", reason

    @property
    def _mapping(self) -> Path:
        return Path(self.settings["mapping_file"] or self.folder / MAPPING)

    @property
    def _lists(self) -> str:
        return f"{self._mapping.name} and {Path(self.settings['identity_file']).name}"

    def _files(self) -> list[str]:
        return self.file_names(self.folder / PICTURES, "the data set's pictures")

    def _identities(self) -> dict[str, str]:
        """The identity of each picture, "" where the lists have none."""
        rows = _text_rows(self._mapping, "a number first, a CelebA file last")
        original = {row[0]: row[-1] for row in rows if row[0].isdigit()}
        identity = dict(_text_rows(Path(self.settings["identity_file"]), "a CelebA file and a number", fields=2))
        names = {
            name: identity.get(original.get(Path(name).stem, ""), "") for name in self._files() if _is_picture(name)
        }
        return {name: f"{int(found):05d}" if found.isdigit() else "" for name, found in names.items()}

    def url(self, identity: str, image: str) -> str:
        return f"{PICTURES}/{image}"

    def labels(self, picture: Path, shape: tuple[int, int]) -> bytes:
        """The parts one over another, enlarged to the picture (masks are half its size)."""
        import numpy as np

        from leam.images import encode_labels, read_masks
        from leam.regions import farl_labels

        number = int(picture.stem)
        masks = self.folder / MASKS / str(number // MASKS_PER_FOLDER)
        files = {label: masks / f"{number:05d}_{part}.png" for label, part in enumerate(MASK_PARTS, start=1)}
        files = {label: file for label, file in files.items() if file.is_file()}
        if not files:
            raise reasons.UnusablePictureError(reasons.LABELS_MISSING)
        labels = np.zeros(shape, np.uint8)
        for label, mask in zip(files, read_masks(files.values(), shape), strict=True):
            labels[mask] = label
        return encode_labels(farl_labels("celebamask_hq")[labels])


def _is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES)


def _text_rows(path: Path, expected: str, fields: int | None = None) -> list[list[str]]:
    """The lines of a text file, split at spaces; raises ValueError for one with other than ``fields`` fields."""
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"source celebamask_hq: {path}: {error.strerror}") from error
    for number, row in enumerate(rows, start=1):
        if len(row) != (fields or len(row)) or len(row) < 2:
            raise ValueError(f"{path}, line {number}: expected {expected}; found {' '.join(row)[:80]!r}")
    return rows
