"""Workers of loaders use one thread of OpenCV each, whatever this process has done with OpenCV before."""

import cv2
import numpy as np
import pytest
import torch
from helpers import config_of
from torch.utils.data import Dataset

from geopose.data.dataset import CropDataset, TileDataset, create_train_loader, create_valid_loader, split_fold
from geopose.data.loader import OneThreadLoader
from geopose.inference.ensemble import create_tile_loader

TIMEOUT_S = 120  # a worker that hangs fails the test


@pytest.fixture(params=[1, 4])
def own_threads(request):
    """This process has used OpenCV with so many threads; with more than one, its pool of threads exists."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(request.param)
    blur()
    yield request.param
    cv2.setNumThreads(before)


def blur(_dataset=None, _index=None) -> int:
    """Use OpenCV in parallel if it may. Returns its number of threads."""
    cv2.GaussianBlur(np.zeros((600, 600, 3), np.uint8), (0, 0), 3)
    return cv2.getNumThreads()


@pytest.mark.parametrize("purpose", ["training", "validation", "prediction"])
def test_forked_workers_use_one_thread(tiny_data, tmp_path, monkeypatch, own_threads, purpose):
    for dataset in (CropDataset, TileDataset):
        monkeypatch.setattr(dataset, "__getitem__", blur)
    config = config_of(tiny_data, tmp_path / "run", "data.workers=2", "data.batch_size=1")
    table = split_fold(config)[0]
    if purpose == "prediction":
        loader = create_tile_loader(table, torch.device("cuda"))  # only a GPU's loader has a worker
    else:
        loader = (create_train_loader if purpose == "training" else create_valid_loader)(table, config)
    loader.timeout, loader.multiprocessing_context = TIMEOUT_S, "fork"
    for _ in range(2):
        assert {int(threads) for threads in loader} == {1}
        assert blur() == own_threads


class Blurred(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return blur()


def test_workers_that_are_not_forked_use_one_thread(own_threads):
    loader = OneThreadLoader(Blurred(), num_workers=1, timeout=TIMEOUT_S, multiprocessing_context="forkserver")
    assert [int(threads) for threads in loader] == [1, 1]
    assert blur() == own_threads
