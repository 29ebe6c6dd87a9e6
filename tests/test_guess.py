"""leam.guess: settings that follow from what lies in a folder of photographs."""

import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from leam import config, guess
from leam.regions import CELEBAMASK_HQ, REGIONS
from leam.sample import rendering

SIZES = (96, 120, 104)  # of three pictures of a person


@pytest.fixture(scope="module")
def drawn():
    """Three rendered pictures of each of two people."""
    return {
        name: [
            rendering.render_person(5, person, [number], size)[0] for number, size in zip(range(3), SIZES, strict=True)
        ]
        for person, name in enumerate(("ann", "bob"))
    }


@pytest.fixture
def album(drawn, tmp_path):
    """Where to put a picture of each, and what lies beside it: album(place, beside) -> the folder."""

    def make(place="{name}/{number:02}.jpg", beside=None):
        for name, pictures in drawn.items():
            for number, picture in enumerate(pictures):
                path = tmp_path / "album" / place.format(name=name, number=number)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.image).save(path)
                if beside:
                    beside(path, picture)
        return tmp_path / "album"

    return make


def found(folder):
    return {key: value for key, value, _ in guess.guess_settings(folder, "results/mine").lines}


def lacking(folder):
    return " | ".join(guess.guess_settings(folder, "results/mine").lacking)


def write_labels(path, picture, order=REGIONS, suffix=".regions.png"):
    numbers = np.array([order.index(name) for name in REGIONS], np.uint8)
    Image.fromarray(numbers[picture.regions]).save(path.with_name(path.stem + suffix))


def write_points(path, picture, suffix=".pts"):
    rows = "\n".join(f"{x} {y}" for x, y in picture.landmarks + 1)
    path.with_name(path.stem + suffix).write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")


def test_a_folder_per_person_is_all_it_takes(album):
    settings = found(album())
    assert settings["source.folder.layout"] == "identity/image" and settings["models"] == ["dlib_resnet"]
    assert settings["faces.crop_mode"] == "aligned" and "faces.detector" not in settings
    assert "source.folder.label_suffix" not in settings and "demographics" not in settings
    said = lacking(album())
    assert "hair, ears" in said and "gender and ethnicity" in said and "by age" in said


def test_settings_that_are_written_are_those_that_were_guessed(album, tmp_path):
    folder, output = album(), tmp_path / "mine.yaml"
    said = guess.write_settings(folder, output)
    written = yaml.safe_load(output.read_text())
    assert written == guess.guess_settings(folder, "results/mine").config()
    assert config.complete(written)["faces"]["crop_size"] == 210
    lines = output.read_text().splitlines()
    assert all(" # " in line for line in lines if not line.lstrip().startswith("#") and not line.endswith(":"))
    assert "cannot do" in said and str(output) in said


@pytest.mark.parametrize(("order", "name"), [(REGIONS, "farl"), (CELEBAMASK_HQ, "celebamask_hq")])
@pytest.mark.parametrize("suffix", [".regions.png", "_mask.png"])
def test_label_maps_are_known_by_their_place_and_their_order_by_the_face(album, order, name, suffix):
    folder = album(beside=lambda path, picture: write_labels(path, picture, order, suffix))
    settings = found(folder)
    assert (settings["source.folder.label_suffix"], settings["source.folder.label_order"]) == (suffix, name)
    assert "hair, ears" not in lacking(folder)


def test_pictures_that_are_called_alike_are_no_label_maps(album):
    folder = album(
        beside=lambda path, picture: Image.fromarray(picture.image).save(path.with_name(f"{path.stem}_2.png"))
    )
    assert "source.folder.label_suffix" not in found(folder)


@pytest.mark.parametrize("suffix", [".pts", ".landmarks.npy"])
def test_landmarks_are_known_by_what_they_hold(album, suffix):
    def write(path, picture):
        if suffix == ".pts":
            write_points(path, picture)
        else:
            np.save(path.with_name(path.stem + suffix), picture.landmarks)

    assert found(album(beside=write))["source.folder.landmark_suffix"] == suffix


def test_notes_beside_pictures_are_no_landmarks(album):
    folder = album(beside=lambda path, _: path.with_suffix(".txt").write_text("taken in May\n"))
    assert "source.folder.landmark_suffix" not in found(folder)


@pytest.mark.parametrize(
    ("place", "layout"),
    [
        ("train/{name}/{number}.jpg", "*/identity/image"),
        ("female/{name}/{number}.jpg", "gender/identity/image"),
        ("Asian/Female/{name}/{number}.jpg", "ethnicity/gender/identity/image"),
        ("data/African/{name}/{number}.jpg", "*/ethnicity/identity/image"),
    ],
)
def test_folders_above_people_are_groups_or_of_no_matter(album, place, layout):
    folder = album(place)
    assert found(folder)["source.folder.layout"] == layout
    assert ("gender and ethnicity" in lacking(folder)) == (layout == "*/identity/image")


@pytest.mark.parametrize("where", ["album/people.csv", "people.csv"])
def test_a_table_of_people_is_found_in_the_folder_or_beside_it(album, tmp_path, where):
    folder = album()
    (tmp_path / "other.csv").write_text("identity,gender\nzoe,female\n")  # of nobody here
    (tmp_path / "notes.txt").write_text("hello\n")
    (tmp_path / where).write_text("identity,gender\nann,female\nbob,male\n")
    assert found(folder)["demographics"] == str(tmp_path / where)


def test_rectangles_are_taken_where_they_are_of_these_pictures(album, tmp_path):
    folder = album()
    (tmp_path / "a.csv").write_text("identity,image,left,top,right,bottom\nzoe,00.jpg,1,1,50,50\n")
    assert "source.folder.rects" not in found(folder)
    (folder / "b.csv").write_text("identity,image,left,top,right,bottom\nann,00.jpg,1,1,50,50\n")
    assert found(folder)["source.folder.rects"] == str(folder / "b.csv")


def test_equal_small_squares_are_faces_already(drawn, tmp_path):
    for name, pictures in drawn.items():
        (tmp_path / "crops" / name).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture.image).resize((112, 112)).save(tmp_path / "crops" / name / f"{number}.png")
    settings = found(tmp_path / "crops")
    assert (settings["faces.detector"], settings["faces.crop_mode"], settings["faces.crop_size"]) == (
        "none",
        "whole",
        112,
    )


def test_names_of_the_fgnet_database_say_it(drawn, tmp_path):
    (tmp_path / "FGNET/images").mkdir(parents=True)
    for person, pictures in enumerate(drawn.values(), start=1):
        for number, picture in enumerate(pictures):
            Image.fromarray(picture.image).save(tmp_path / f"FGNET/images/{person:03}A{number + 10}.JPG")
    settings = found(tmp_path / "FGNET")
    assert (settings["source.kind"], settings["source.fgnet.path"]) == ("fgnet", str(tmp_path / "FGNET/images"))
    assert "by age" not in lacking(tmp_path / "FGNET")


@pytest.mark.parametrize("name", ["it's {odd}: #1", "- a", "é ü", "yes", "'"])
def test_a_folder_may_be_called_what_it_likes(album, tmp_path, name):
    shutil.move(album(), tmp_path / name)
    output = tmp_path / "own.yaml"
    guess.write_settings(tmp_path / name, output)
    settings = config.complete(yaml.safe_load(output.read_text()))
    assert config.chosen_source(settings).identities() == ["ann", "bob"] and settings["results"] == "results/own"


def test_people_of_one_picture_are_counted(album):
    folder = album()
    for path in sorted((folder / "bob").iterdir())[1:]:
        path.unlink()
    assert "maps of 1 people who have less than two pictures" in lacking(folder)


def test_a_file_that_is_there_stays_as_it_is(album, tmp_path):
    folder, output = album(), tmp_path / "mine.yaml"
    guess.write_settings(folder, output)
    output.write_text(before := output.read_text().replace("210", "224"))
    assert "stays as it is" in guess.write_settings(folder, output) and output.read_text() == before
    shutil.copytree(folder, tmp_path / "others")
    with pytest.raises(guess.GuessError, match=r"is of another folder.*MINE=other\.yaml"):
        guess.write_settings(tmp_path / "others", output)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("{name}{number}.jpg", "6 pictures side by side.*a folder per person"),
        (None, r"holds 1 \.heic and no pictures.*\.webp"),
        ("", "is no folder"),
    ],
)
def test_what_says_nothing_of_people_is_refused_in_one_sentence(album, tmp_path, place, words):
    if place is None:
        (tmp_path / "album/ann").mkdir(parents=True)
        (tmp_path / "album/ann/1.HEIC").touch()
    elif place:
        album(place)
    with pytest.raises(guess.GuessError, match=words) as fault:
        guess.write_settings(tmp_path / "album", tmp_path / "mine.yaml")
    assert "\n" not in str(fault.value) and not (tmp_path / "mine.yaml").exists()


def test_pictures_that_are_none_are_refused(tmp_path):
    for name in ("ann", "bob"):
        (tmp_path / "album" / name).mkdir(parents=True)
        (tmp_path / "album" / name / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(guess.GuessError, match="can be read"):
        guess.guess_settings(tmp_path / "album", "results/mine")
