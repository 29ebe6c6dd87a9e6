"""leam.sources.imdb_face: every row judged, people and images drawn, against a naive reading of the same list."""

import csv
import hashlib
import tracemalloc
from collections import Counter, defaultdict

import pandas as pd
import pytest

from leam import links
from leam.files import sha256
from leam.sources import source_of
from leam.sources.imdb_face import published_list

HEADER = "name,index,image,rect,height width,url"


def row(number: int, image: int, /, **changes) -> str:
    """A good line; the picture is 400 high and 300 wide."""
    fields = {
        "name": f"Some_One_{number}",
        "index": f"nm{number:07d}",
        "image": f"{image}_rm{number}.jpg",
        "rect": "50 60 150 200",
        "size": "400 300",
        "url": f"https://m.media-amazon.com/images/M/{number}-{image}@._V1_.jpg",
    }
    return ",".join((fields | changes).values())


def write(path, *lines, end="\n"):
    path.write_text(end.join([HEADER, *lines, ""]), newline="")
    return path


def settings(path, **changes):
    return {"kind": "imdb_face", "path": str(path), "seed": 0, "include": None} | {
        "identities": 2,
        "min_images": 2,
        "max_images": 3,
        **changes,
    }


BAD = {
    "too,few": "2 fields: expected 6",
    "just text": "1 fields: expected 6",
    row(1, 91, index="tt0000001"): "index: expected nm and at least seven digits",
    row(1, 92, index="nm12345"): "index: expected nm and at least seven digits",
    row(1, 92, index="../nm0000001"): "index: expected nm and at least seven digits",
    row(1, 93, image=""): "image: expected a name of at most 255 characters",
    row(1, 94, image="a\x07b.jpg"): "image: expected a name of at most 255 characters",
    row(1, 95, rect="1 2 3"): "rect: expected xmin ymin xmax ymax",
    row(1, 95, rect="1 2 3 x"): "rect: expected xmin ymin xmax ymax",
    row(1, 95, rect="1 2 3 nan"): "rect: expected xmin ymin xmax ymax",
    row(1, 96, size="400"): "height width: expected two whole numbers above 0",
    row(1, 96, size="0 300"): "height width: expected two whole numbers above 0",
    row(1, 97, rect="150 60 50 200"): "rect: not a rectangle within the picture",
    row(1, 97, rect="50 60 50 200"): "rect: not a rectangle within the picture",
    row(1, 97, rect="300 60 350 200"): "rect: not a rectangle within the picture",  # 300 is the width
    row(1, 97, rect="0 -9 9 0"): "rect: not a rectangle within the picture",
    row(1, 98, url="ftp://a.org/x.jpg"): "url: expected http:// or https:// and a host",
    row(1, 98, url="m.media-amazon.com/x.jpg"): "url: expected http:// or https:// and a host",
    row(1, 98, url="http:///x.jpg"): "url: expected http:// or https:// and a host",
    row(1, 98, url=""): "url: expected http:// or https:// and a host",
    row(1, 1): "image: the same image of the same person stands in an earlier line",
}
GOOD = [row(person, image) for person in (1, 2) for image in (1, 2, 3)]


@pytest.mark.parametrize("chunk", [10, 300, 16_000_000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_bad_rows_are_told_with_line_and_reason(tmp_path, monkeypatch, chunk, end):
    monkeypatch.setattr(published_list, "CHUNK_CHARACTERS", chunk)
    path = write(tmp_path / "list.csv", *GOOD[:3], *BAD, "", *GOOD[3:], end=end)
    rows, bad = published_list.choose_links(settings(path))
    assert dict(zip(bad["line"], bad["reason"], strict=True)) == dict(enumerate(BAD.values(), start=5))
    assert list(rows["identity"]) == ["nm0000001"] * 3 + ["nm0000002"] * 3
    first = {"identity": "nm0000001", "image": "1_rm1.jpg", "rect": "50 60 150 200", "height": "400", "width": "300"}
    assert rows.iloc[0].to_dict() == first | {"url": "https://m.media-amazon.com/images/M/1-1@._V1_.jpg"}


def test_rows_that_are_odd_but_good(tmp_path):
    odd = [
        row(1, 1, name="Zoë_Ünicode"),
        '"One, Some",nm0000001,2.jpg,50 60 150 200,400 300,http://a.org/2.jpg',
        '"stray,nm0000001,3.jpg,50 60 150 200,400 300,http://a.org/3.jpg',  # a quotation mark without its end
        'Nick_"Nick"_Name,nm0000001,4.jpg,50 60 150 200,400 300,http://a.org/4.jpg',
        " n , nm0000001 , 5.jpg , -5.5  60 150 200.25 , 400  300 , http://a.org/größe 5.jpg ",
        row(1, 6, image="../../6.jpg"),
    ]
    path = write(tmp_path / "list.csv", *odd)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as some editors begin a file
    rows, bad = published_list.choose_links(settings(path, identities=1, max_images=9))
    assert list(zip(bad["line"], bad["reason"], strict=True)) == [(4, "1 fields: expected 6")]
    assert set(rows["image"]) == {"1_rm1.jpg", "2.jpg", "4.jpg", "5.jpg", "../../6.jpg"}
    fifth = rows[rows["image"] == "5.jpg"].iloc[0]
    assert (fifth["rect"], fifth["height"], fifth["width"]) == ("-5.5  60 150 200.25", "400", "300")
    assert fifth["url"] == "http://a.org/größe 5.jpg"


LONG = {  # lines that are too long in one way or another, and what is said of them
    '"' + 150_000 * "x" + '",nm0000001,9.jpg,1 2 3 4,9 9,http://a.org/9.jpg': published_list.LINE_TOO_LONG,
    row(1, 98, name=100_001 * "n"): published_list.LINE_TOO_LONG,
    row(1, 97) + 1_000_000 * ",": published_list.LINE_TOO_LONG,
    '"' + 20_000 * '""' + '",nm0000001,8.jpg': "3 fields: expected 6",
    row(1, 96) + 50_000 * ",": published_list.LONG_URL,
    2_000_000 * "\0": published_list.LINE_TOO_LONG,
    '"unclosed,' + row(1, 95): "1 fields: expected 6",
    row(1, 94, image="\0.jpg"): "image: expected a name of at most 255 characters",
    "name,index,image,rect,height width,url": "index: expected nm and at least seven digits",  # a list behind another
    "\ufeffname,index": "2 fields: expected 6",
}


@pytest.mark.parametrize("chunk", [1000, 99_999, 16_000_000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_no_line_ends_the_list_however_long_it_is(tmp_path, monkeypatch, chunk, end):
    monkeypatch.setattr(published_list, "CHUNK_CHARACTERS", chunk)
    path = write(tmp_path / "list.csv", *GOOD[:3], *LONG, *GOOD[3:], end=end)
    rows, bad = published_list.choose_links(settings(path))
    assert dict(zip(bad["line"], bad["reason"], strict=True)) == dict(enumerate(LONG.values(), start=5))
    assert list(rows["identity"]) == ["nm0000001"] * 3 + ["nm0000002"] * 3
    path.write_bytes(path.read_bytes() + 200_000 * b"x")  # no end of the last line
    assert published_list.choose_links(settings(path))[1]["reason"].iloc[-1] == published_list.LINE_TOO_LONG


@pytest.mark.parametrize(
    "content",
    [
        "name,index,image,rect,height width,url\n".encode("utf-16"),
        b"\0" * 500_000,
        b'"name,index,image,rect,height width,url\n',
        b"name,index,index,image,rect,height width,url\n",
        b"name,index,image,rect,height width,url,url\n",
        b"name;index;image;rect;height width;url\n",
        b"\xef\xbb\xbf\xef\xbb\xbfname,index,image,rect,height width,url\n",
        b"",
    ],
)
def test_a_list_with_another_header_is_one_sentence(tmp_path, content):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(published_list.ListError, match=r"the header is .*; expected 'name,index,image") as caught:
        published_list.choose_links(settings(tmp_path / "list.csv"))
    assert len(str(caught.value)) < 3000 and len(str(caught.value).splitlines()) == 1


def test_memory_does_not_follow_a_line_without_end(tmp_path):
    """A file of zeros, as a crash of the machine may leave one, behind a few good rows."""
    path = write(tmp_path / "list.csv", *GOOD)
    with open(path, "r+b") as file:
        file.truncate(300 * 2**20)
    tracemalloc.start()
    _, bad = published_list.choose_links(settings(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(bad["line"]) == [2 + len(GOOD)] and peak < 150 * 2**20


def test_commas_of_an_address_are_its_own(tmp_path):
    address = "https://m.media-amazon.com/images/M/a@._V1_UX600_CR0,0,600,900_AL_.jpg"
    lines = [row(1, 1, url=address), row(1, 2, name='"One, Some"', url=address), row(1, 3, url=f'"{address}"')]
    rows, bad = published_list.choose_links(settings(write(tmp_path / "list.csv", *lines), identities=1))
    assert bad.empty and list(rows["url"]) == [address] * 3


def test_names_in_another_encoding_do_no_harm_and_broken_urls_do(tmp_path):
    path = write(tmp_path / "list.csv", row(1, 1), row(1, 2, name="Zoé"), row(1, 3, url="http://a.org/é.jpg"))
    path.write_bytes(path.read_text().encode("latin-1"))
    rows, bad = published_list.choose_links(settings(path, identities=1))
    assert len(rows) == 2
    assert list(bad["line"]) == [4] and bad["reason"][0].startswith("url: ")


def test_people_and_images_of_the_run_against_a_naive_reading(tmp_path):
    lines = [row(person, image) for person in range(40) for image in range(person % 9)]
    path = write(tmp_path / "list.csv", *lines)
    rows, _ = published_list.choose_links(settings(path, identities=7, min_images=4, max_images=6))
    with open(path) as file:
        naive = Counter(each["index"] for each in csv.DictReader(file))
    found = rows.groupby("identity").size()
    assert len(found) == 7
    assert all(naive[identity] >= 4 and count == min(naive[identity], 6) for identity, count in found.items())
    assert rows.equals(rows.sort_values(["identity", "image"], ignore_index=True))


@pytest.mark.parametrize("seed", [0, 5])
def test_who_is_drawn_against_a_naive_draw(tmp_path, seed):
    """People, then each one's images, in the order of SHA-256 of "seed/name"; a row that stands twice counts once."""
    lines = [row(person, image) for person in range(50) for image in range(person % 8)]
    path = write(tmp_path / "list.csv", *lines, *lines[::9], row(1, 90) + ",more", row(7, 91, rect="1 2 3"))
    rows, _ = published_list.choose_links(settings(path, identities=9, min_images=3, max_images=5, seed=seed))

    def first(names, count):
        return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())[:count]

    images = defaultdict(set)
    for line in lines:
        _, person, image, *_ = line.split(",")
        images[person].add(image)
    drawn = first([person for person, names in images.items() if len(names) >= 3], 9)
    expected = {(p, key.split("/")[1]) for p in drawn for key in first([f"{p}/{image}" for image in images[p]], 5)}
    assert set(zip(rows["identity"], rows["image"], strict=True)) == expected
    assert len(rows) == len(expected) and len(drawn) == 9


def test_everyone_is_drawn_alike():
    """Over seeds, each of 40 people as often as any: chi square, 39 degrees of freedom, far below 1e-4."""
    names = [f"nm{number:07d}" for number in range(40)]
    drawn = Counter(name for seed in range(500) for name in published_list._draw(names, seed, 10))
    assert sum((drawn[name] - 125) ** 2 / 125 for name in names) < 85


def test_the_seed_draws_and_more_keeps_what_fewer_had(tmp_path):
    path = write(tmp_path / "list.csv", *(row(person, image) for person in range(60) for image in range(8)))
    drawn = {
        key: published_list.choose_links(settings(path, identities=key[0], max_images=key[1], seed=key[2]))[0]
        for key in ((10, 3, 0), (20, 5, 0), (10, 3, 1))
    }
    sets = {key: set(zip(rows["identity"], rows["image"], strict=True)) for key, rows in drawn.items()}
    assert sets[10, 3, 0] < sets[20, 5, 0]
    assert {identity for identity, _ in sets[10, 3, 0]} != {identity for identity, _ in sets[10, 3, 1]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identities": 3}, r"list\.csv: 2 people have 2 good rows or more .*identities asks for 3"),
        ({"min_images": 4}, r"list\.csv: 0 people have 4 good rows or more"),
        ({"include": ["nm0000002", "nm0000009"]}, r"list\.csv: 1 of `include` lack 2 good rows or more .*: nm0000009"),
    ],
)
def test_too_few_people_are_an_error(tmp_path, changes, message):
    path = write(tmp_path / "list.csv", *GOOD)
    with pytest.raises(published_list.ListError, match=message):
        published_list.choose_links(settings(path, **changes))


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "name,index,image,rect,height,width,url\n", '{"x": 1}'])
def test_another_header_is_an_error(tmp_path, content):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(published_list.ListError, match=r"list\.csv: the header is .*; expected 'name,index"):
        published_list.choose_links(settings(tmp_path / "list.csv"))


def test_a_list_without_rows_is_an_error(tmp_path):
    with pytest.raises(published_list.ListError, match="no rows below the header"):
        published_list.choose_links(settings(write(tmp_path / "list.csv")))


def list_links(tmp_path, source):
    output, rejected = tmp_path / "links.parquet", tmp_path / "rejected.csv"
    links.list_links(output, source=source_of(source), identities_per_job=2, rejected=rejected)
    return pd.read_parquet(output), pd.read_csv(rejected)


def test_the_table_of_links_and_its_shards(tmp_path):
    path = write(tmp_path / "list.csv", *(row(person, image) for person in range(5) for image in range(3)), "bad")
    source = settings(path, identities=5)
    table, rejected = list_links(tmp_path, source)
    assert list(table.columns) == list(links.LINK_COLUMNS)
    assert sorted(set(table["shard"])) == links.shard_names(links.count_shards(source_of(source).count(), 2))
    assert list(rejected.itertuples(index=False, name=None)) == [(17, "1 fields: expected 6")]
    assert not table.stack().str.contains("Some_One").any()
    first = sha256(tmp_path / "links.parquet")
    list_links(tmp_path, source)
    assert sha256(tmp_path / "links.parquet") == first


def test_the_number_of_people_is_known_without_the_list():
    assert source_of(settings("absent.csv", identities=1000)).count() == 1000
    assert source_of(settings("absent.csv", include=["nm0000001", "nm0000002"])).count() == 2
