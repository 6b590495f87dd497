"""Windows and tiles of any sizes: everything is covered, nothing is shifted, and weights sum to one."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from geopose.data.dataset import DrawSampler
from geopose.inference.rectify import grow, place_in
from geopose.inference.scene import predict_strips, pyramid, tile_side, tile_starts
from geopose.inference.square import sum_between

SIDES = st.integers(1, 70)
TILES = st.integers(2, 40)


class Positions:
    """A reader of an image whose bands are the column, the row, and where it has data."""

    def __init__(self, has_data: np.ndarray):
        self.shape, self.has_data = has_data.shape, has_data

    def read(self, window: Window):
        rows, columns = (np.arange(int(first), int(first + count)) for first, count in _spans(window))
        data = self.has_data[np.ix_(rows, columns)]
        return np.stack([*np.meshgrid(columns, rows), data]).astype(np.uint8), data


def _spans(window: Window):
    return (window.row_off, window.height), (window.col_off, window.width)


class Echo:
    """Predicts 3 times the column plus the row as height, and the row as spread."""

    def predict(self, batch):
        column, row, _ = batch["image"][0].float()
        direction, scale = torch.tensor([[0.0, 1.0]]), torch.tensor([1.0])
        heights, spread = (3 * column + row)[None, None], row[None, None]
        return {"agl_m": heights, "spread_m": spread, "direction": direction, "scale_px_per_m": scale}


@given(SIDES, SIDES, TILES, st.integers(0, 2**32 - 1))
def test_overlapping_tiles_give_every_pixel_its_own_value(height, width, tile_px, seed):
    """Weights that did not sum to one, gaps and shifts would all change values."""
    has_data = np.random.default_rng(seed).random((height, width)) < 0.7
    strips = [
        strip._replace(planes=strip.planes.copy())
        for strip in predict_strips(Positions(has_data), Echo(), 0.4, tile_px, "town.tif")
    ]
    assert [strip.first_row for strip in strips] == list(
        np.cumsum([0, *(strip.planes.shape[1] for strip in strips[:-1])])
    )
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    expected = np.where(has_data, [3 * columns + rows, rows], np.nan)
    together = np.concatenate([strip.planes for strip in strips], axis=1)
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-4)


@given(st.integers(1, 5000), st.integers(2, 1024))
def test_tiles_cover_a_length_from_end_to_end(length, tile_px):
    starts, side = tile_starts(length, tile_px), tile_side(length, tile_px)
    assert 0 < side <= min(tile_px, length) and (side < 32 or side % 32 == 0)
    assert starts[0] == 0 and starts[-1] + side == length
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= side / 2 + 1).all()


@given(SIDES, SIDES)
def test_a_tiles_weights_are_above_zero_and_symmetric(height, width):
    weights = pyramid(height, width)
    assert weights.shape == (height, width) and weights.min() > 0
    np.testing.assert_array_equal(weights, weights[::-1])
    np.testing.assert_array_equal(weights, weights[:, ::-1])
    np.testing.assert_allclose(weights, pyramid(width, height).T)


@st.composite
def windows(draw):
    """A raster's size and a window in it."""
    (height, width), spans = draw(st.tuples(SIDES, SIDES)), []
    for side in (width, height):
        first = draw(st.integers(0, side - 1))
        spans.append((first, draw(st.integers(1, side - first))))
    (left, columns), (top, rows) = spans
    return (height, width), Window(left, top, columns, rows)


MARGINS = st.tuples(st.integers(0, 30), st.integers(0, 30))


@given(windows(), MARGINS, MARGINS)
def test_a_window_is_found_in_the_larger_one_around_it(where, before_px, after_px):
    size, window = where
    raster = np.arange(size[0] * size[1]).reshape(size)
    larger = grow(window, before_px, after_px, size)
    np.testing.assert_array_equal(raster[larger.toslices()][place_in(window, larger)], raster[window.toslices()])
    (top, left), (rows, columns) = (larger.row_off, larger.col_off), (larger.height, larger.width)
    assert top == max(0, window.row_off - before_px[1]) and left == max(0, window.col_off - before_px[0])
    assert top + rows == min(size[0], window.row_off + window.height + after_px[1])
    assert left + columns == min(size[1], window.col_off + window.width + after_px[0])


@given(st.integers(1, 30), st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_parts_of_a_row_sum_to_the_row(length, cuts, seed):
    values = np.random.default_rng(seed).uniform(-1, 1, (length, 3))
    edges = np.array([0.0, *sorted(length * cut for cut in cuts), length])
    np.testing.assert_allclose(sum_between(values, edges, 0).sum(axis=0), values.sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(sum_between(np.ones((length, 1)), edges, 0)[:, 0], np.diff(edges), atol=1e-9)


@given(st.integers(1, 5), st.integers(1, 20), st.integers(1, 6))
def test_ranks_share_the_draws_of_an_epoch(world_size, per_rank, epoch):
    samplers = [DrawSampler(per_rank * world_size, rank, world_size) for rank in range(world_size)]
    draws = []
    for sampler in samplers:
        sampler.epoch = epoch
        draws += sampler
        assert len(sampler) == per_rank
    assert sorted(draws) == list(range((epoch - 1) * per_rank * world_size, epoch * per_rank * world_size))
