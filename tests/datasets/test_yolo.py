"""YOLO data sets, from small folders made here."""

import sys

import numpy as np
import pytest
from PIL import Image

from edgeyolo.datasets import load_dataset
from edgeyolo.errors import DatasetError, RuntimeMissingError

GOOD = "0 0.5 0.5 0.25 0.5"


def write_yolo(folder, labels, yaml="train: images/train\nval: images/val\nnames: [cat, dog]\n", split="val"):
    (folder / "images" / split).mkdir(parents=True)
    (folder / "labels" / split).mkdir(parents=True)
    for i, text in enumerate(labels):
        Image.new("RGB", (80, 60)).save(folder / "images" / split / f"frame{i}.png")
        if text is not None:
            (folder / "labels" / split / f"frame{i}.txt").write_text(text)
    file = folder / "data.yaml"
    file.write_text(yaml)
    return file


def test_boxes_in_pixels(tmp_path):
    dataset = load_dataset(write_yolo(tmp_path, [f"{GOOD}\n1 0.9 0.9 0.4 0.4\n", ""]))
    assert (dataset.format, dataset.class_names, dataset.category_ids) == ("yolo", ("cat", "dog"), (1, 2))
    first, second = dataset.images
    assert (first.width, first.height) == (80, 60)
    np.testing.assert_allclose(first.boxes, [[30, 15, 50, 45], [56, 42, 80, 60]], rtol=1e-6)
    np.testing.assert_allclose(
        first.xywh[1], [56, 42, 32, 24], err_msg="what sticks out is clipped only in boxes"
    )
    assert first.class_id.tolist() == [0, 1]
    assert len(second) == 0 and second.boxes.shape == (0, 4)


def test_opens_no_image_until_a_box_is_wanted(tmp_path):
    file = write_yolo(tmp_path, [GOOD])
    (tmp_path / "images" / "val" / "frame0.png").write_bytes(b"not an image")
    sample = load_dataset(file).images[0]
    from edgeyolo.errors import ImageError

    with pytest.raises(ImageError, match=r"frame0\.png"):
        _ = sample.boxes


def test_size_is_of_the_upright_image(tmp_path):
    file = write_yolo(tmp_path, [GOOD])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "images" / "val" / "frame0.png", exif=exif)
    assert load_dataset(file).images[0].size == (60, 80)


def test_outlines_become_boxes(tmp_path):
    file = write_yolo(tmp_path, ["1 0.25 0.5 0.5 0.25 0.75 0.75\n" + GOOD])
    sample = load_dataset(file, polygons=True).images[0]
    np.testing.assert_allclose(sample.boxes[0], [20, 15, 60, 45])
    np.testing.assert_allclose(sample.polygons[0][0], [[20, 30], [40, 15], [60, 45]])
    assert sample.polygons[1] == ()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0 0.1", "degenerate box"),
        ("0 0.5 0.5 0.1 -0.1", "degenerate box"),
        ("0 1.5 0.5 0.1 0.1", "box outside the image"),
        ("0 320 240 50 50", "box outside the image"),
        ("0 nan 0.5 0.1 0.1", "value not finite"),
        ("0 0.5 inf 0.1 0.1", "value not finite"),
        ("2 0.5 0.5 0.1 0.1", "unknown class"),
        ("-1 0.5 0.5 0.1 0.1", "unknown class"),
        ("0.5 0.5 0.5 0.1 0.1", "malformed label"),
        ("nan 0.5 0.5 0.1 0.1", "malformed label"),
        ("0 0.5 0.5 0.1", "malformed label"),
        ("0 0.5 0.5 0.1 0.1 0.1", "malformed label"),
        ("cat 0.5 0.5 0.1 0.1", "malformed label"),
    ],
)
def test_bad_lines_are_listed_once_and_left_out(tmp_path, line, kind):
    dataset = load_dataset(write_yolo(tmp_path, [f"{GOOD}\n\n{line}\n"]))
    (problem,) = dataset.problems
    assert problem.kind == kind
    assert problem.where.endswith("frame0.txt:3")
    assert dataset.objects == 1


def test_an_image_without_label_file_is_listed_and_kept_empty(tmp_path):
    dataset = load_dataset(write_yolo(tmp_path, [GOOD, None]))
    assert [problem.kind for problem in dataset.problems] == ["missing label file"]
    assert [len(sample) for sample in dataset.images] == [1, 0]


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(
        DatasetError, match=r"none of its 2 images has a usable label: 1 x missing label file.*; 1 x"
    ):
        load_dataset(write_yolo(tmp_path, [None, "0 0.5 0.5 0 0"]))


def test_splits_as_lists_of_images(tmp_path):
    yaml = "path: .\nval: [list.txt, images/more]\nnames: {0: cat, 1: dog}\n"
    file = write_yolo(tmp_path, [GOOD, GOOD], yaml)
    (tmp_path / "list.txt").write_text("./images/val/frame1.png\n\nimages/val/gone.png\n")
    (tmp_path / "images" / "more").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "more" / "a.JPG", format="jpeg")
    dataset = load_dataset(file)
    assert [sample.path.name for sample in dataset.images] == ["frame1.png", "a.JPG"]
    assert sorted(problem.kind for problem in dataset.problems) == ["missing image", "missing label file"]


def test_export_that_starts_with_two_dots(tmp_path):
    file = write_yolo(tmp_path / "export", [GOOD], "val: ../images/val\nnames: [cat]\nnc: 1\n")
    assert len(load_dataset(file)) == 1
    assert len(load_dataset(tmp_path / "export", "val")) == 1, "the folder stands for its data.yaml"


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("000012", "000139"), [12, 139]),
        (("7", "07"), [1, 2]),
        (("20230101123045123456", "20230101123045123457"), ["20230101123045123456", "20230101123045123457"]),
        (("2007_01", "2007_02"), [1, 2]),
    ],
)
def test_numbers_as_names_are_the_image_ids(tmp_path, names, ids):
    file = write_yolo(tmp_path, [GOOD])
    (tmp_path / "images" / "val" / "frame0.png").unlink()
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / "val" / f"{name}.png")
        (tmp_path / "labels" / "val" / f"{name}.txt").write_text(GOOD)
    assert [sample.source_id for sample in load_dataset(file).images] == ids


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("val: images/val\n", "`names` must be a list"),
        ("val: images/val\nnames: [cat, no]\n", "the name of class 1 reads as False"),
        ("val: images/val\nnames: [cat]\nnc: 3\n", "nc is 3, but `names` has 1"),
        ("val: images/val\nnames: {1: cat, 2: dog}\n", "must be 0 to 1"),
        ("val: images/none\nnames: [cat]\n", "'images/none' is not there"),
        ("val: data.yaml\nnames: [cat]\n", "neither a folder nor a txt list"),
        ("val: labels\nnames: [cat]\n", "no images in 'labels'"),
        ("names: [cat]\n", "no split None: it has none"),
        ("just text\n", "has no keys"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_says_what_is_wrong_with_the_yaml(tmp_path, yaml, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(write_yolo(tmp_path, [GOOD], yaml))


def test_a_split_that_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match="no split 'test': it has val, train"):
        load_dataset(write_yolo(tmp_path, [GOOD]), "test")


def test_without_yaml_installed(tmp_path, monkeypatch):
    file = write_yolo(tmp_path, [GOOD])
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install .*\[eval\]"):
        load_dataset(file)


def test_voc2007_is_the_same_as_its_json(shared):
    folder = shared / "data" / "voc2007"
    yolo, coco = load_dataset(folder, "val"), load_dataset(folder / "instances_val.json")
    assert yolo.class_names == coco.class_names and yolo.category_ids == coco.category_ids
    assert yolo.problems == coco.problems == ()
    for ours, theirs in zip(yolo.images, coco.images, strict=True):
        assert (ours.path, ours.image_id, ours.size) == (theirs.path, theirs.image_id, theirs.size)
        np.testing.assert_array_equal(ours.class_id, theirs.class_id)
        np.testing.assert_allclose(ours.xywh, theirs.xywh, atol=0.01)


def test_a_byte_order_mark_costs_nothing(tmp_path):
    file = write_yolo(
        tmp_path, [f"\ufeff{GOOD}\n1 0.5 0.5 0.1 0.1"], "\ufeffval: list.txt\nnames: [cat, dog]\n"
    )
    (tmp_path / "list.txt").write_text("\ufeffimages/val/frame0.png\n", encoding="utf-8")
    dataset = load_dataset(file)
    assert dataset.problems == () and dataset.objects == 2


def test_labels_in_another_encoding_are_said(tmp_path):
    file = write_yolo(tmp_path, [GOOD, None])
    (tmp_path / "labels" / "val" / "frame1.txt").write_text(GOOD, encoding="utf-16")
    (problem,) = load_dataset(file).problems
    assert problem.kind == "malformed label" and "expected text in UTF-8" in problem.detail
    (tmp_path / "list.txt").write_text("images/val/frame0.png", encoding="utf-16")
    file.write_text("val: list.txt\nnames: [cat]\n")
    with pytest.raises(DatasetError, match="expected text in UTF-8"):
        load_dataset(file)


def test_hidden_files_count_as_nothing_and_links_are_followed(tmp_path):
    file = write_yolo(tmp_path, [GOOD])
    for part, name in (("images", "a.png"), ("labels", "a.txt")):
        (tmp_path / f"camera-{part}").mkdir()
        source = tmp_path / part / "val" / name.replace("a", "frame0")
        (tmp_path / f"camera-{part}" / name).write_bytes(source.read_bytes())
        (tmp_path / part / "val" / "camera").symlink_to(tmp_path / f"camera-{part}")
    (tmp_path / "images" / "val" / ".ipynb_checkpoints").mkdir()
    Image.new("RGB", (8, 8)).save(
        tmp_path / "images" / "val" / ".ipynb_checkpoints" / "frame0-checkpoint.png"
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "val" / "._frame0.png")
    dataset = load_dataset(file)
    assert (len(dataset), dataset.objects) == (2, 2)
    assert sorted((problem.kind, problem.where.rsplit("/", 1)[1]) for problem in dataset.problems) == [
        ("hidden", "._frame0.png"),
        ("hidden", ".ipynb_checkpoints"),
    ]


@pytest.mark.parametrize(
    "lines", [["images/val/gone.png", "images/val/frame0.png"], ["images\\val\\frame0.png"]]
)
def test_each_line_of_a_list_is_looked_for_by_itself(tmp_path, lines):
    file = write_yolo(tmp_path, [GOOD], "val: lists/val.txt\nnames: [cat]\n")
    (tmp_path / "lists" / "images" / "val").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "lists" / "images" / "val" / "beside.png")
    (tmp_path / "lists" / "val.txt").write_text("\n".join([*lines, "images/val/beside.png"]))
    assert [sample.path.name for sample in load_dataset(file).images] == ["frame0.png", "beside.png"]


@pytest.mark.parametrize(
    "yaml",
    [
        "valid: images/val\nnames: {'0': cat, '1': dog}\nnc: '2'\n",
        "val: images/*/*.png\nnames: [cat, dog]\n",
        "val: [images/val/frame?.png]\nnames: {1: dog, 0: cat}\nnc: 2\n",
        "val: images/**\nnames: [cat, dog]\n",
        "train: images/none\nvalidation: images/val\nval: ''\nnames: [cat, dog]\n",
    ],
)
def test_forms_that_tools_write(tmp_path, yaml):
    file = write_yolo(tmp_path, [GOOD, GOOD], yaml)
    for split in (None, "val", "valid"):
        dataset = load_dataset(file, split)
        assert (len(dataset), dataset.class_names) == (2, ("cat", "dog"))


def test_labels_beside_the_images(tmp_path):
    file = write_yolo(tmp_path, [GOOD])
    (tmp_path / "labels" / "val" / "frame0.txt").rename(tmp_path / "images" / "val" / "frame0.txt")
    dataset = load_dataset(file)
    assert dataset.problems == () and dataset.objects == 1


def test_identical_lines_count_once(tmp_path):
    dataset = load_dataset(
        write_yolo(tmp_path, [f"{GOOD}\n{GOOD}\n0 0.50 0.5 0.250 0.5\n1 0.5 0.5 0.25 0.5", GOOD])
    )
    assert [len(sample) for sample in dataset.images] == [2, 1]
    assert [problem.kind for problem in dataset.problems] == ["duplicate label"] * 2


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("val: images/val\nnc: 3\n", r"has `nc`, but no `names`\n.*names: \[cat, dog\]"),
        ("val: images/val\nnames: {'0': cat, '2': dog}\n", "must be 0 to 1; they are"),
        ("val: images/val\nnames: [cat]\nnc: [1]\n", r"nc is \[1\], but `names` has 1"),
        ("val: {a: b}\nnames: [cat]\n", "expected the names of folders and lists"),
        ("val: images/val\npath: [x]\nnames: [cat]\n", "expected the names of folders and lists"),
        ("val: images/x*.png\nnames: [cat]\n", "'images/x.*' is not there"),
        (f"val: {'x' * 5000}\nnames: [cat]\n", "is not there"),
    ],
)
def test_says_what_else_is_wrong_with_the_yaml(tmp_path, yaml, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(write_yolo(tmp_path, [GOOD], yaml))


def test_images_on_which_nothing_is_may_be_validated_on(tmp_path):
    file = write_yolo(tmp_path, ["", None])
    assert load_dataset(file, need_objects=False).objects == 0
    with pytest.raises(DatasetError, match="none of its 2 images has a usable label"):
        load_dataset(file)
    for text in (None, "0 0.5 0.5 0 0"):
        with pytest.raises(DatasetError, match="none of its 2 images has a usable label"):
            load_dataset(write_yolo(tmp_path / repr(text), [text, None]), need_objects=False)
