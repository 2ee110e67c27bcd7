"""Pascal VOC folders, from small ones made here."""

import numpy as np
import pytest
from PIL import Image

from edgeyolo.datasets import align_classes, load_dataset
from edgeyolo.errors import DatasetError

SIZE = "<size><width>80</width><height>60</height><depth>3</depth></size>"


def element(name="cat", box=(1, 2, 30, 40), difficult="0"):
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"


def write_voc(folder, annotations, splits=None, size=SIZE):
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for stem, objects in annotations.items():
        Image.new("RGB", (80, 60)).save(folder / "JPEGImages" / f"{stem}.jpg")
        if objects is not None:
            body = f"<annotation><filename>{stem}.jpg</filename>{size}{''.join(objects)}</annotation>"
            (folder / "Annotations" / f"{stem}.xml").write_text(body)
    for name, stems in (splits or {"val": annotations}).items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(stems) + "\n")
    return folder


def test_values_are_the_files_own(tmp_path):
    folder = write_voc(
        tmp_path, {"b": [element("dog", difficult="1"), element(box=(0, 0, 80.5, 60))], "a": [element("ant")]}
    )
    dataset = load_dataset(folder)
    assert (dataset.format, dataset.class_names, dataset.category_ids) == (
        "voc",
        ("ant", "cat", "dog"),
        (1, 2, 3),
    )
    assert [(sample.path.name, sample.image_id) for sample in dataset.images] == [("b.jpg", 1), ("a.jpg", 2)]
    first = dataset.images[0]
    assert first.xywh.tolist() == [[1, 2, 29, 38], [0, 0, 80.5, 60]], "no shift by one pixel"
    assert first.difficult.tolist() == [True, False]
    assert first.boxes.tolist() == [[1, 2, 30, 40], [0, 0, 80, 60]]
    assert first.size == (80, 60)


def test_class_names_do_not_depend_on_the_split(tmp_path):
    folder = write_voc(
        tmp_path, {"a": [element("cat")], "b": [element("dog")]}, {"train": ["a"], "test": ["b"]}
    )
    assert (
        load_dataset(folder, "train").class_names
        == load_dataset(folder, "test").class_names
        == ("cat", "dog")
    )
    given = load_dataset(folder, "test", class_names=["dog", "cat"])
    assert given.class_names == ("dog", "cat") and given.images[0].class_id.tolist() == [0]


def test_default_split_and_unknown_split(tmp_path):
    folder = write_voc(tmp_path, {"a": [element()], "b": [element()]}, {"train": ["a"], "test": ["b  1"]})
    assert load_dataset(folder).name.endswith("-test")
    with pytest.raises(DatasetError, match=r"no split 'val': ImageSets/Main has test, train"):
        load_dataset(folder, "val")


def test_without_split_files_all_images_are_read(tmp_path):
    folder = write_voc(tmp_path, {"a": [element()], "b": [element()]})
    (folder / "ImageSets" / "Main" / "val.txt").unlink()
    assert len(load_dataset(folder)) == 2


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (element(box=(5, 5, 5, 20)), "degenerate box"),
        (element(box=(20, 5, 5, 20)), "degenerate box"),
        (element(box=(80, 5, 90, 20)), "box outside the image"),
        (element(box=("nan", 5, 90, 20)), "value not finite"),
        (element(box=("", 5, 90, 20)), "malformed label"),
        (element(name=""), "malformed label"),
        ("<object><name>cat</name></object>", "malformed label"),
    ],
)
def test_bad_objects_are_listed_once_and_left_out(tmp_path, bad, kind):
    dataset = load_dataset(write_voc(tmp_path, {"a": [element(), bad]}))
    (problem,) = dataset.problems
    assert problem.kind == kind
    assert problem.where.endswith("a.xml, object 2")
    assert dataset.objects == 1


def test_unknown_class_where_the_classes_are_given(tmp_path):
    dataset = load_dataset(write_voc(tmp_path, {"a": [element(), element("bird")]}), class_names=["cat"])
    assert [(problem.kind, problem.detail) for problem in dataset.problems] == [("unknown class", "bird")]


def test_bad_files(tmp_path):
    folder = write_voc(
        tmp_path, {"a": [element()], "broken": [element()], "unlabelled": None, "gone": [element()]}
    )
    (folder / "Annotations" / "broken.xml").write_text("<annotation><object>")
    (folder / "JPEGImages" / "gone.jpg").unlink()
    dataset = load_dataset(folder)
    assert sorted(problem.kind for problem in dataset.problems) == [
        "malformed label",
        "missing image",
        "missing label file",
    ]
    assert [(sample.path.stem, len(sample)) for sample in dataset.images] == [("a", 1), ("unlabelled", 0)]


def test_size_from_the_image_where_the_file_has_none(tmp_path):
    folder = write_voc(tmp_path, {"a": [element(box=(70, 50, 90, 90)), element(box=(80, 1, 90, 9))]}, size="")
    dataset = load_dataset(folder)
    assert dataset.images[0].size == (80, 60)
    assert [problem.kind for problem in dataset.problems] == ["box outside the image"]


def test_bccd_is_the_same_as_its_json(shared):
    folder = shared / "data" / "bccd"
    coco = load_dataset(folder / "test_coco.json")
    voc = align_classes(load_dataset(folder, "test"), coco.class_names)
    assert voc.problems == coco.problems == ()
    for ours, theirs in zip(voc.images, coco.images, strict=True):
        assert (ours.path, ours.image_id, ours.size) == (theirs.path, theirs.image_id, theirs.size)
        for name in ("class_id", "xywh", "area", "crowd"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_bccd_bad_boxes_are_found(shared):
    found = [load_dataset(shared / "data" / "bccd", split).problems for split in ("train", "val", "test")]
    assert [len(problems) for problems in found] == [1, 1, 0]
    assert "BloodImage_00343.xml, object 4" in found[0][0].where
    assert "BloodImage_00338.xml, object 13" in found[1][0].where


def test_xml_beside_the_images(tmp_path):
    folder = write_voc(tmp_path, {"a": [element()], "b": [element("dog")]})
    for file in (folder / "JPEGImages").iterdir():
        file.rename(folder / "Annotations" / file.name)
    (folder / "Annotations" / "._a.xml").write_bytes(b"\0\5\26\7")
    dataset = load_dataset(folder / "Annotations")
    assert (dataset.format, len(dataset), dataset.class_names) == ("voc", 2, ("cat", "dog"))
    assert [problem.kind for problem in dataset.problems] == ["hidden"]


def test_a_folder_for_each_part(tmp_path):
    for part, name in (("train", "cat"), ("valid", "dog")):
        folder = write_voc(tmp_path / f"made-{part}", {part: [element(name)]})
        (tmp_path / "set" / part).mkdir(parents=True)
        for file in (*(folder / "JPEGImages").iterdir(), *(folder / "Annotations").iterdir()):
            file.rename(tmp_path / "set" / part / file.name)
    for split, stem in ((None, "valid"), ("val", "valid"), ("train", "train")):
        dataset = load_dataset(tmp_path / "set", split)
        assert [sample.path.stem for sample in dataset.images] == [stem]
        assert dataset.class_names == ("cat", "dog"), "of all parts"


@pytest.mark.parametrize(
    "lines",
    [
        "a.jpg\nb c.jpg",
        "a\nb c",
        "a  1\nb c -1",
        "JPEGImages/a.jpg 1\n  b c.png  \n\n",
        "\ufeffa\nb c",
        "x\\a.xml\nb c.JPG",
    ],
)
def test_lists_as_tools_write_them(tmp_path, lines):
    folder = write_voc(tmp_path, {"a": [element()], "b c": [element()]})
    (folder / "ImageSets" / "Main" / "val.txt").write_text(lines, encoding="utf-8")
    dataset = load_dataset(folder)
    assert dataset.problems == () and [sample.path.stem for sample in dataset.images] == ["a", "b c"]


@pytest.mark.parametrize("encoding", ["GB2312", "gbk", "utf-16", "utf-8-sig", "latin-1", "shift_jis"])
def test_xml_in_the_encoding_that_it_declares(tmp_path, encoding):
    name = "é" if encoding == "latin-1" else "本"
    folder = write_voc(tmp_path, {"a": [element()]})
    declared = encoding.removesuffix("-sig")
    body = f'<?xml version="1.0" encoding="{declared}"?><annotation>{SIZE}{element(name)}</annotation>'
    (folder / "Annotations" / "a.xml").write_bytes(body.encode(encoding))
    assert load_dataset(folder).class_names == (name,)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            f"<annotation>{SIZE}{element('狗')}</annotation>".encode("gbk"),
            "declares no other: write its encoding",
        ),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "unknown encoding"),
        (b'<?xml version="1.0" encoding="rot13"?><annotation/>', "rot13"),
        (b"\xff\xfe<\0", ""),
    ],
)
def test_xml_that_cannot_be_read_is_said(tmp_path, body, words):
    folder = write_voc(tmp_path, {"a": [element()], "b": [element()]})
    (folder / "Annotations" / "b.xml").write_bytes(body)
    (problem,) = load_dataset(folder).problems
    assert problem.kind == "malformed label" and words in problem.detail


def test_swapped_sizes_are_the_images_own(tmp_path):
    swapped = SIZE.replace("80", "x").replace("60", "80").replace("x", "60")
    folder = write_voc(tmp_path, {"a": [element(box=(61, 1, 75, 9))], "b": [element()]}, size=swapped)
    dataset = load_dataset(folder)
    assert [(sample.size, len(sample)) for sample in dataset.images] == [((80, 60), 1)] * 2
    assert [problem.kind for problem in dataset.problems] == ["swapped image size"] * 2


@pytest.mark.parametrize(
    ("text", "difficult"), [("true", True), ("Unspecified", False), ("", False), ("0.0", None), ("7", None)]
)
def test_difficult_is_parsed(tmp_path, text, difficult):
    dataset = load_dataset(write_voc(tmp_path, {"a": [element(), element("dog", difficult=text)]}))
    assert dataset.images[0].difficult.tolist() == ([False, difficult] if difficult is not None else [False])
    assert len(dataset.problems) == (difficult is None)


def test_the_file_name_in_an_xml_stays_inside_the_folder(tmp_path):
    folder = write_voc(tmp_path / "set", {"a": [element()]})
    Image.new("RGB", (80, 60)).save(tmp_path / "outside.jpg")
    (folder / "JPEGImages" / "a.jpg").rename(folder / "JPEGImages" / "shot.jpg")
    xml = (folder / "Annotations" / "a.xml").read_text()
    for name in ("C:\\photos\\shot.jpg", "../JPEGImages/shot.jpg"):
        (folder / "Annotations" / "a.xml").write_text(xml.replace("a.jpg", name))
        assert load_dataset(folder).images[0].path == folder / "JPEGImages" / "shot.jpg"
    (folder / "Annotations" / "a.xml").write_text(xml.replace("a.jpg", "../../outside.jpg"))
    with pytest.raises(DatasetError, match="missing image"):
        load_dataset(folder)


def test_one_swapped_size_among_many_is_found(tmp_path):
    """No box reaches out of it, and most sizes of the set are right."""
    folder = write_voc(tmp_path, {f"{number:03}": [element(box=(1, 1, 20, 20))] for number in range(90)})
    file = folder / "Annotations" / "037.xml"
    width, height = "<width>80</width>", "<height>60</height>"
    text = file.read_text()
    assert width in text and height in text
    file.write_text(text.replace(width, "<width>60</width>").replace(height, "<height>80</height>"))
    dataset = load_dataset(folder)
    assert {sample.size for sample in dataset.images} == {(80, 60)}
    assert [problem.kind for problem in dataset.problems] == ["swapped image size"]
