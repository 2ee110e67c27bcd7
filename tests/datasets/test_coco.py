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
    assert [first.image_id, second.image_id] == [10, 20]
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
        (annotation(2, [10], [1, 1, 9, 9]), "malformed label", "unhashable"),
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
    assert [sample.image_id for sample in dataset.images] == [10]
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
        (ONE_IMAGE + '[{"id": "1", "name": "a"}]}', r"categories\[0\] needs"),
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
    labels = [annotation(i, i % 5000, [i % 600, 10.5, 20.25, 30.125], area=5.0) for i in range(1, 36001)]
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
