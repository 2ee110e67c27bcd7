"""COCO json, from small files made here."""

import json

import numpy as np
import pytest
from PIL import Image

from edgeyolo.datasets import load_dataset
from edgeyolo.errors import DatasetError

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]

ONE_IMAGE = """{"images": [{"id": 1, "file_name": "a", "width": 1, "height": 1}],
"annotations": [], "categories": """


def annotation(number, image, bbox, category=3, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **more}


def write_coco(folder, annotations, *, images=2, place="images", stem="instances_val"):
    (folder / place).mkdir(parents=True, exist_ok=True)
    records = []
    for i in range(1, images + 1):
        Image.new("RGB", (80, 60)).save(folder / place / f"{i:04d}.jpg")
        records.append({"id": i * 10, "file_name": f"{i:04d}.jpg", "width": 80, "height": 60})
    file = folder / f"{stem}.json"
    file.write_text(json.dumps({"images": records, "annotations": annotations, "categories": CATEGORIES}))
    return file


def test_values_are_the_files_own(tmp_path):
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    file = write_coco(
        tmp_path,
        [
            annotation(1, 20, [1.1, 2.2, 30.3, 20.4], area=99.5, segmentation=square),
            annotation(
                2, 10, [0, 0, 5, 5], category=7, iscrowd=1, segmentation={"counts": [1], "size": [60, 80]}
            ),
            annotation(3, 20, [70, 50, 20, 20]),
        ],
    )
    dataset = load_dataset(file, polygons=True)
    assert (dataset.format, dataset.class_names, dataset.category_ids) == ("coco", ("cat", "dog"), (3, 7))
    first, second = dataset.images
    assert [first.source_id, second.source_id] == [10, 20] and [first.image_id, second.image_id] == [1, 2]
    assert first.class_id.tolist() == [1] and first.crowd.tolist() == [True]
    assert second.xywh.tolist() == [[1.1, 2.2, 30.3, 20.4], [70, 50, 20, 20]], "exactly, in the file's order"
    assert second.area.tolist() == [99.5, 400.0]
    assert second.boxes.dtype == np.float32
    np.testing.assert_allclose(second.boxes, [[1.1, 2.2, 31.4, 22.6], [70, 50, 80, 60]], rtol=1e-6)
    assert second.polygons[0][0].tolist() == [[1, 1], [5, 1], [5, 5], [1, 5]]
    assert first.polygons == ((),), "a crowd's mask has no outline"
    assert load_dataset(file).images[1].polygons is None


@pytest.mark.parametrize(
    ("bad", "kind", "detail"),
    [
        (annotation(2, 10, [5, 5, 0, 10]), "degenerate box", "[5, 5, 0, 10]"),
        (annotation(2, 10, [5, 5, 10, -1]), "degenerate box", "[5, 5, 10, -1]"),
        (annotation(2, 10, [80, 5, 10, 10]), "box outside the image", "[80, 5, 10, 10]"),
        (annotation(2, 10, [float("nan"), 5, 10, 10]), "value not finite", "[nan, 5, 10, 10]"),
        (annotation(2, 10, [5, 5, 10]), "malformed label", "not enough values"),
        (annotation(2, 10, None), "malformed label", ""),
        (annotation(2, [10], [1, 1, 9, 9]), "malformed label", "[10] is no id"),
        ({"id": 2, "image_id": 10}, "malformed label", "no category_id, bbox"),
        (annotation(2, 10, [1, 1, 9, 9], category=4), "unknown class", "category_id 4"),
        (annotation(2, 99, [1, 1, 9, 9]), "unknown image", "image_id 99"),
    ],
)
def test_bad_annotations_are_listed_once_and_left_out(tmp_path, bad, kind, detail):
    dataset = load_dataset(write_coco(tmp_path, [annotation(1, 10, [1, 1, 9, 9]), bad]))
    (problem,) = dataset.problems
    assert problem.kind == kind
    assert problem.where == "annotation 2"
    assert detail in problem.detail
    assert dataset.objects == 1


def test_missing_images_are_left_out_with_their_labels(tmp_path):
    file = write_coco(tmp_path, [annotation(1, 10, [1, 1, 9, 9]), annotation(2, 20, [1, 1, 9, 9])])
    (tmp_path / "images" / "0002.jpg").unlink()
    dataset = load_dataset(file)
    assert [sample.source_id for sample in dataset.images] == [10]
    assert [problem.kind for problem in dataset.problems] == ["missing image"]
    assert load_dataset(file, need_images=False).objects == 2


@pytest.mark.parametrize(
    ("stem", "place"),
    [
        ("anything", "."),
        ("anything", "images"),
        ("instances_val2017", "images/val2017"),
        ("instances_val2017", "val2017"),
        ("test_coco", "JPEGImages"),
        ("annotations/instances_val2017", "images/val2017"),
        ("annotations/instances_val2017", "val2017"),
    ],
)
def test_finds_the_images(tmp_path, stem, place):
    (tmp_path / "annotations").mkdir()
    file = write_coco(tmp_path, [annotation(1, 10, [1, 1, 9, 9])], place=place, stem=stem)
    assert len(load_dataset(file)) == 2


def test_images_elsewhere(tmp_path):
    file = write_coco(tmp_path / "json", [annotation(1, 10, [1, 1, 9, 9])], place="../far/away")
    with pytest.raises(DatasetError, match="none of its 2 images"):
        load_dataset(file)
    assert len(load_dataset(file, image_folder=tmp_path / "far" / "away")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "this is a list"),
        ("{", "not valid json"),
        ('{"images": [], "annotations": []}', "categories missing"),
        ('{"images": [], "annotations": [], "categories": []}', "list of images is empty"),
        ('{"images": [{"id": "a"}], "annotations": [], "categories": []}', r"images\[0\] needs"),
        (ONE_IMAGE + '[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "two categories have the id 1"),
        (ONE_IMAGE + '[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}', "two categories have the name 'a'"),
        (ONE_IMAGE + '[{"id": [1], "name": "a"}]}', r"categories\[0\] needs"),
    ],
)
def test_says_what_is_wrong_with_the_file(tmp_path, content, message):
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(DatasetError, match=message):
        load_dataset(file)


def test_reads_five_thousand_images_quickly(tmp_path):
    import time

    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(5000)]
    labels = [annotation(i, i % 5000, [i % 601, 10.5, 20.25, 30.125], area=5.0) for i in range(1, 36001)]
    file = tmp_path / "big.json"
    file.write_text(json.dumps({"images": images, "annotations": labels, "categories": CATEGORIES}))
    begin = time.process_time()
    dataset = load_dataset(file, need_images=False)
    seconds = time.process_time() - begin
    assert (len(dataset), dataset.objects) == (5000, 36000)
    assert seconds < 3, "0.4 s on an idle core"


def test_a_folder_stands_for_the_json_of_its_split(tmp_path):
    for split in ("train", "val"):
        write_coco(tmp_path, [annotation(1, 10, [1, 1, 9, 9])], stem=f"instances_{split}")
    assert load_dataset(tmp_path, "val").name == "instances_val"
    with pytest.raises(DatasetError, match=r"several json files.*instances_train.json, instances_val.json"):
        load_dataset(tmp_path)


def test_real_coco(shared):
    dataset = load_dataset(shared / "data" / "coco" / "instances_val2017.json")
    assert (len(dataset), dataset.objects, dataset.problems) == (80, 725, ())
    assert len(dataset.class_names) == 80
    assert dataset.category_ids[-1] == 90 and dataset.class_names[-1] == "toothbrush"
    assert sum(int(sample.crowd.sum()) for sample in dataset.images) == 8


@pytest.mark.parametrize(
    ("more", "crowd", "difficult", "area"),
    [
        ({"iscrowd": "0", "difficult": "0"}, False, False, 64.0),
        ({"iscrowd": 0.0, "difficult": None}, False, False, 64.0),
        ({"iscrowd": "1", "difficult": "true"}, True, True, 64.0),
        ({"iscrowd": True, "difficult": 1}, True, True, 64.0),
        ({"area": None}, False, False, 64.0),
        ({"area": "12.5"}, False, False, 12.5),
        ({"area": 0}, False, False, 0.0),
    ],
)
def test_values_are_parsed_and_not_taken_by_truth(tmp_path, more, crowd, difficult, area):
    dataset = load_dataset(write_coco(tmp_path, [annotation(1, 10, ["1", 1, 8.0, "8"], **more)]))
    sample = dataset.images[0]
    assert dataset.problems == ()
    assert sample.xywh.tolist() == [[1, 1, 8, 8]]
    assert (sample.crowd.tolist(), sample.difficult.tolist()) == ([crowd], [difficult])
    assert sample.area.tolist() == [area]


@pytest.mark.parametrize("area", ["big", -1, float("nan"), [1], True])
def test_an_area_that_cannot_be_used_costs_no_label(tmp_path, area):
    dataset = load_dataset(write_coco(tmp_path, [annotation(1, 10, [1, 1, 8, 8], area=area)]))
    assert dataset.images[0].area.tolist() == [64.0]
    assert [problem.kind for problem in dataset.problems] == ["unusable area"]


@pytest.mark.parametrize("more", [{"iscrowd": "maybe"}, {"iscrowd": 2}, {"iscrowd": [0]}, {"difficult": 0.5}])
def test_odd_flags_are_reported(tmp_path, more):
    dataset = load_dataset(
        write_coco(tmp_path, [annotation(1, 10, [1, 1, 8, 8]), annotation(2, 10, [2, 2, 8, 8], **more)])
    )
    (problem,) = dataset.problems
    assert problem.kind == "malformed label" and "expected 0 or 1" in problem.detail


@pytest.mark.parametrize(
    ("ids", "written"),
    [
        (("a", "b"), ("a", "b")),
        (("1", "2"), (1, "2")),
        ((1.0, 2), (1, 2)),
        ((2**63 + 5, 2**200), (2**63 + 5, str(2**200))),
        ((-1, 0), (-1, 0)),
    ],
)
def test_ids_are_text_numbers_or_too_large_for_numbers(tmp_path, ids, written):
    file = write_coco(tmp_path, [])
    data = json.loads(file.read_text())
    for record, category, ident in zip(data["images"], data["categories"], ids, strict=True):
        record["id"] = category["id"] = ident
    data["annotations"] = [annotation(1, written[0], [1, 1, 8, 8], category=written[1])]
    file.write_text(json.dumps(data))
    dataset = load_dataset(file)
    assert dataset.problems == ()
    assert [sample.source_id for sample in dataset.images] == [
        int(i) if isinstance(i, float) else i for i in ids
    ]
    assert [len(sample) for sample in dataset.images] == [1, 0]
    assert dataset.class_names[dataset.images[0].class_id[0]] == "cat"


def test_images_without_sizes_have_their_own(tmp_path):
    file = write_coco(tmp_path, [annotation(1, 10, [1, 1, 8, 8]), annotation(2, 20, [81, 1, 8, 8])])
    data = json.loads(file.read_text())
    for record, width in zip(data["images"], (None, "wide"), strict=True):
        record |= {"width": width, "height": 0}
    file.write_text(json.dumps(data))
    dataset = load_dataset(file)
    assert [sample.size for sample in dataset.images] == [(80, 60)] * 2
    assert [problem.kind for problem in dataset.problems] == ["box outside the image"]
    (tmp_path / "images" / "0002.jpg").write_bytes(b"no image")
    assert [problem.kind for problem in load_dataset(file).problems] == ["damaged image"]


def test_swapped_sizes_are_the_images_own(tmp_path):
    file = write_coco(tmp_path, [annotation(1, 10, [61, 1, 8, 8]), annotation(2, 20, [1, 1, 8, 8])])
    data = json.loads(file.read_text())
    for record in data["images"]:
        record |= {"width": 60, "height": 80}
    file.write_text(json.dumps(data))
    dataset = load_dataset(file)
    assert dataset.objects == 2, "the box at 61 is inside"
    assert [sample.declared_size for sample in dataset.images] == [(80, 60)] * 2
    assert [problem.kind for problem in dataset.problems] == ["swapped image size"] * 2


def test_a_size_of_the_picture_as_stored_is_believed_unless_a_box_reaches_out(tmp_path):
    """A tool that knows nothing of EXIF annotates the picture as it is stored: its boxes are of that."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = write_coco(tmp_path, [annotation(1, 10, [1, 1, 8, 8]), annotation(2, 20, [1, 62, 8, 8])])
    for name in ("0001.jpg", "0002.jpg"):
        Image.new("RGB", (80, 60)).save(tmp_path / "images" / name, exif=exif)
    assert [sample.declared_size for sample in load_dataset(file).images] == [(80, 60), (60, 80)]


def test_identical_labels_count_once_and_are_counted(tmp_path):
    box = [1, 1, 8, 8]
    dataset = load_dataset(
        write_coco(
            tmp_path,
            [
                annotation(1, 10, box),
                annotation(2, 10, [1.0, 1, 8, 8]),
                annotation(3, 20, box),
                annotation(4, 10, box, category=7),
                annotation(5, 10, [1, 1, 8, 8.001]),
                annotation(6, 10, box, iscrowd=1),
                annotation(7, 10, box, area=5),
                annotation(8, 10, box),
            ],
        )
    )
    assert dataset.objects == 6
    assert [(problem.kind, problem.where) for problem in dataset.problems] == [
        ("duplicate label", "annotation 2"),
        ("duplicate label", "annotation 8"),
    ]


def test_a_file_name_that_cannot_be_one_is_a_missing_image(tmp_path):
    file = write_coco(tmp_path, [annotation(1, 10, [1, 1, 8, 8]), annotation(2, 20, [1, 1, 8, 8])])
    for name in ("x" * 5000, "a\0b", "\ud800.jpg", ""):
        data = json.loads(file.read_text())
        data["images"][1]["file_name"] = name
        file.write_text(json.dumps(data))
        assert [problem.kind for problem in load_dataset(file).problems] == ["missing image"]


def test_a_byte_order_mark_and_utf16_are_json_too(tmp_path):
    file = write_coco(tmp_path, [annotation(1, 10, [1, 1, 8, 8])])
    text = file.read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        file.write_text(text, encoding=encoding)
        assert load_dataset(file).objects == 1
