"""Do maps point at each person's own region where that is known? The world of signatures, in which identity lies in the
hair, the nose or the lower lip of each person, under the recogniser that was trained for it.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_signatures.py [--people 36] [--images 4]

Per polarity, target and region: the enrichment of the region in the top 1 % of the first layer's maps of those whose
own it is, the same of all others, and p of the two-sided Mann-Whitney test between both, over people. Who shows nothing
of a region (hair under a hat) is left out there.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from leam import maps, regions, storage
from leam.analyses.localisation.measure import render_world
from leam.embedding import COSINE, DOT
from leam.recognisers import registry
from leam.sample import people, rendering
from leam.statistics import mann_whitney, ratio


def enrichments(faces: Path, found: Path) -> dict[str, dict[str, np.ndarray]]:
    """{polarity: {region: (I,)}}: share of the activated pixels of each person, over the region's share of the area."""
    result: dict[str, dict[str, list[float]]] = {}
    with storage.open_shard(found, "maps") as shard, storage.open_shard(faces, "faces") as parsed:
        row = storage.read_thresholds(shard).index(regions.TOP_1)
        for identity in storage.identities(shard):
            labels = storage.read_regions(parsed, identity)
            for polarity, counts in storage.read_counts(shard, identity).items():
                total = counts[:, 0, row].sum(0, dtype=float)  # (R,) over the pairs, first layer
                for region in people.SIGNATURE_REGIONS:
                    number = regions.REGIONS.index(region)
                    share, area = ratio(total[number], total.sum()), (labels == number).mean()
                    result.setdefault(polarity, {}).setdefault(region, []).append(float(ratio(share, area)))
    return {polarity: {name: np.array(of) for name, of in each.items()} for polarity, each in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=36)
    parser.add_argument("--images", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    recogniser = registry.recogniser(registry.world_model(people.SIGNATURE))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        faces = folder / "faces.h5"
        render_world(people.SIGNATURE, folder, faces, given.people, given.images, 192, 0)
        for target in (COSINE, DOT):
            found = folder / f"{target}.h5"
            maps.compute_maps(faces, found, recogniser, maps.MapSettings(target=target), device="cpu")
            with storage.open_shard(found, "maps") as shard:
                own = [people.signature_of(rendering.person_number(name)) for name in storage.identities(shard)]
            for polarity, by_region in enrichments(faces, found).items():
                for region, values in by_region.items():
                    known = ~np.isnan(values)
                    values, mine = values[known], (np.array(own) == region)[known]
                    _, p = mann_whitney(values[mine], values[~mine])
                    print(f"figure own_{region}_{polarity}_{target} {values[mine].mean():.2f} enrichment")
                    print(f"figure others_{region}_{polarity}_{target} {values[~mine].mean():.2f} enrichment")
                    print(f"figure p_{region}_{polarity}_{target} {p:.4f} probability")


if __name__ == "__main__":
    main()
