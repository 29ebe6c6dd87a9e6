"""leam.links: shards and the table."""

import subprocess
import sys

import pytest

from leam import links
from leam.files import sha256
from listed import make_folder, people_of, table


@pytest.mark.parametrize("n, per_job, expected", [(1, 1, 1), (10, 3, 4), (9, 3, 3), (5, 100, 1)])
def test_shards_are_contiguous_and_even(n, per_job, expected):
    assert links.count_shards(n, per_job) == expected
    shards = links.assign_shards([f"i{k:02d}" for k in range(n)][::-1], per_job)
    assert sorted(set(shards.values())) == links.shard_names(expected)
    in_order = [shards[identity] for identity in sorted(shards)]
    assert in_order == sorted(in_order)
    assert max(in_order.count(name) for name in in_order) <= per_job


@pytest.mark.parametrize("n, per_job", [(0, 1), (3, 0), (3, 1.5), (3, True)])
def test_shard_counts_are_checked(n, per_job):
    with pytest.raises(ValueError, match="whole number of at least 1"):
        links.count_shards(n, per_job)


def test_two_runs_write_the_same_bytes(tmp_path):
    folder = make_folder(tmp_path / "people", {"ann": ["01.jpg", "02.png"], "bob": ["b.webp"], "empty": []})
    table(tmp_path, people_of(folder))
    first = sha256(tmp_path / "links.parquet")
    table(tmp_path, people_of(folder))
    assert sha256(tmp_path / "links.parquet") == first


def test_import_is_light():
    code = "import sys; from leam import links, sources; found = [*map(sources.source_class, sources.kinds())]; "
    code += "sys.exit(len(found) < 5 or bool({'pandas', 'pyarrow', 'torch', 'h5py', 'PIL', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


@pytest.mark.parametrize(
    ("people", "per_job", "models", "enough"),
    [
        (10_000, 6, 2, 8),
        (10_000, 8, 2, None),
        (20_000, 100, 9, None),
        (10**6, 100, 9, 2907),
        (7, 1, 5000, 7),
        (1, 1, 1, None),
    ],
)
def test_larger_shards_are_named_where_there_would_be_too_many_jobs(people, per_job, models, enough):
    said = links.larger_shards(people, per_job, models)
    assert (f"identities_per_job: {per_job} makes about" in said) == (f"; {enough} would do" in said) == bool(enough)
    if enough and models < links.MOST_JOBS / 3:
        assert links.larger_shards(people, enough, models) == ""
        assert links.larger_shards(people, enough - 1, models)
