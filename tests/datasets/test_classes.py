"""Matching a data set's classes with a model's."""

from pathlib import Path

import numpy as np
import pytest

from edgeyolo.datasets import Dataset, Problem, Sample, align_classes, describe_problems, load_dataset
from edgeyolo.errors import DatasetError


def dataset(kind, names, ids=None, used=()):
    n = len(used)
    none = np.zeros(n, dtype=bool)
    sample = Sample(
        Path("a.jpg"), 1, np.array(used, dtype=np.int64), np.tile([0.0, 0, 5, 5], (n, 1)), none, none,
        declared_size=(9, 9),
    )  # fmt: skip
    return Dataset("x", kind, Path("x"), tuple(names), tuple(ids or range(1, len(names) + 1)), (sample,))


def test_coco_is_matched_by_name_and_keeps_its_ids():
    aligned = align_classes(
        dataset("coco", ["cat", "dog", "bus"], [3, 7, 90], used=[0, 2, 1]), ["bus", "cat", "dog"]
    )
    assert aligned.class_names == ("bus", "cat", "dog")
    assert aligned.category_ids == (90, 3, 7)
    assert aligned.images[0].class_id.tolist() == [1, 0, 2]


def test_case_and_separators_do_not_matter():
    aligned = align_classes(dataset("coco", ["Traffic Light", "cat"], used=[0, 1]), ["CAT", "traffic_light"])
    assert aligned.images[0].class_id.tolist() == [1, 0]


def test_an_unused_category_may_be_unknown_to_the_model():
    aligned = align_classes(dataset("coco", ["cells", "cat"], [0, 1], used=[1]), ["cat"])
    assert aligned.category_ids == (1,) and aligned.images[0].class_id.tolist() == [0]


def test_a_used_category_may_not():
    with pytest.raises(DatasetError, match="has objects of 'dog', which the model does not know"):
        align_classes(dataset("coco", ["cat", "dog"], used=[0, 1]), ["cat"])


def test_coco_must_have_every_class_of_the_model():
    with pytest.raises(DatasetError, match="no category for the model's 'bus'"):
        align_classes(dataset("coco", ["cat"], used=[0]), ["cat", "bus"])


def test_voc_need_not_have_every_class_of_the_model():
    aligned = align_classes(dataset("voc", ["b", "d"], used=[0, 1]), ["a", "b", "c", "d"])
    assert aligned.images[0].class_id.tolist() == [1, 3]
    assert sorted(aligned.category_ids) == [1, 2, 3, 4] and aligned.category_ids[1::2] == (1, 2)
    shorter = align_classes(dataset("voc", ["a", "b"], used=[0, 1]), ["a", "b", "c"])
    assert shorter.category_ids == (1, 2, 3)


def test_yolo_is_by_index_and_says_which_name_is_elsewhere():
    assert align_classes(dataset("yolo", ["a", "b"], used=[1]), ["A", "b"]).class_names == ("A", "b")
    with pytest.raises(
        DatasetError, match="class 0 is 'b' to the model, 'a' here, class 1 is 'a' to the model"
    ):
        align_classes(dataset("yolo", ["a", "b"], used=[1]), ["b", "a"])
    with pytest.raises(DatasetError, match="the model has 3 classes, the data set 2"):
        align_classes(dataset("yolo", ["a", "b"], used=[1]), ["a", "b", "c"])


def test_a_model_with_one_name_twice():
    with pytest.raises(DatasetError, match="one name: 'a'"):
        align_classes(dataset("coco", ["a"], used=[0]), ["a", "a"])


def test_problems_are_counted_by_kind():
    problems = [Problem("missing image", f"{i}.jpg") for i in range(5)] + [
        Problem("degenerate box", "x", "[0]")
    ]
    assert describe_problems(problems, examples=2) == [
        "5 x missing image: 0.jpg; 1.jpg; and 3 more",
        "1 x degenerate box: x ([0])",
    ]


@pytest.mark.parametrize("name", ["nowhere", "file.csv", "empty"])
def test_other_paths_are_no_data_set(tmp_path, name):
    (tmp_path / "file.csv").write_text("a,b\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"COCO json file, a YOLO data\.yaml, or a VOC folder"):
        load_dataset(tmp_path / name)


def test_names_that_differ_by_case_or_separators_only_are_two_classes():
    for kind in ("coco", "yolo"):
        names = ["A", "a", "no-helmet", "no_helmet"]
        assert align_classes(dataset(kind, names, used=[0, 1, 2]), names).images[0].class_id.tolist() == [
            0,
            1,
            2,
        ]
    aligned = align_classes(dataset("coco", ["a", "A", "B"], used=[0, 1, 2]), ["A", "a", "b"])
    assert aligned.images[0].class_id.tolist() == [1, 0, 2]
    with pytest.raises(DatasetError, match="class 0 is 'A' to the model, 'a' here"):
        align_classes(dataset("yolo", ["a", "A"], used=[0]), ["A", "a"])


def test_an_ambiguous_name_is_not_guessed():
    with pytest.raises(DatasetError, match="has objects of 'no helmet'"):
        align_classes(dataset("coco", ["no helmet"], used=[0]), ["no-helmet", "no_helmet"])
