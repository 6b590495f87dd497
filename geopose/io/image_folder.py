"""The images of a folder whose labels, if it has any, are not read."""

import hashlib
import os
from pathlib import Path

from geopose.cli import UserError
from geopose.io.names import ARGUMENTS_FILE, label_of
from geopose.io.tables import is_competition, read_train_table

SUFFIXES = (".j2k", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff")


def list_images(folder: str | os.PathLike) -> list[Path]:
    """The images of a folder, sorted; in a competition folder those of train/ and test/.

    If there are files named *_RGB, they are the images. Otherwise every image that is no label is one. Raises UserError
    if the folder does not exist or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of images, or a competition folder")
    places = [folder / "train", folder / "test"] if is_competition(folder) else [folder]
    files = [file for place in places if place.is_dir() for file in sorted(place.iterdir())]
    images = [file for file in files if file.suffix.lower() in SUFFIXES and not label_of(file.name)]
    if not images:
        raise UserError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); give a folder of images")
    return [image for image in images if image.stem.endswith("_RGB")] or images


def list_unlabelled(folder: str | os.PathLike, data_root: str | os.PathLike) -> list[Path]:
    """list_images without the training tiles of the competition folder data_root: these have labels.

    Raises UserError if nothing is left.
    """
    labelled = {Path(rgb).resolve() for rgb in read_train_table(data_root).rgb}
    images = [image for image in list_images(folder) if image.resolve() not in labelled]
    if not images:
        raise UserError(
            f"{folder}: holds only training tiles of {data_root}, which have labels; "
            f"give other images, for example {Path(data_root) / 'test'}"
        )
    return images


def fingerprint_unlabelled(folder: str | os.PathLike, data_root: str | os.PathLike) -> str:
    """SHA-256 over the names and sizes of the files that list_unlabelled returns.

    For a rendered folder its arguments replace the sizes, because another processor rounds a few pixels differently.
    """
    digest = hashlib.sha256()
    for image in list_unlabelled(folder, data_root):
        arguments = image.parent.parent / ARGUMENTS_FILE
        content = arguments.read_text() if arguments.exists() else image.stat().st_size
        digest.update(f"{image.parent.name}/{image.name} {content}\n".encode())
    return digest.hexdigest()
