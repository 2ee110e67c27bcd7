"""Grouping of images into batches."""

from edgeyolo.evaluation.rectangular import Batch, rectangular_batches, square_batches


def test_square_batches_keep_the_order():
    assert square_batches(5, 2, (256, 320)) == [
        Batch((0, 1), (256, 320)),
        Batch((2, 3), (256, 320)),
        Batch((4,), (256, 320)),
    ]
    assert square_batches(0, 2, (256, 256)) == []


def test_rectangular_batches_go_from_wide_to_tall():
    sizes = [(300, 600), (640, 480), (800, 400), (500, 500), (640, 427)]
    batches = rectangular_batches(sizes, 2, 640, 32)
    assert [batch.images for batch in batches] == [(2, 4), (1, 3), (0,)]
    # ceil(aspect * 640 / 32 + 0.5) * 32: the widest batch is ruled by its tallest image, 427 / 640.
    assert [batch.size for batch in batches] == [(448, 672), (672, 672), (672, 352)]


def test_equal_aspects_keep_their_order():
    assert rectangular_batches([(64, 64)] * 4, 3, 64, 32)[0].images == (0, 1, 2)
