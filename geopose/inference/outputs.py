"""The files that are written for images, and what must not be replaced by them."""

import os
from collections.abc import Iterable
from pathlib import Path

from geopose.cli import UserError
from geopose.io.names import agl_name, rectified_names, vflow_name


def output_paths(image: Path, out: Path, rectified: bool) -> list[Path]:
    """The files in the folder out that hold an image's heights and pose, and with rectified the image without lean."""
    names = [agl_name(image.stem), vflow_name(image.stem), *(rectified_names(image.stem) if rectified else ())]
    return [out / name for name in names]


def refuse_overwriting(outputs: Iterable[tuple[Path, Path]], inputs: Iterable[Path], overwrite: bool) -> None:
    """Raise UserError when an output would replace another output, an input, or, without overwrite, any file.

    outputs: each file that will be written, as a pair (image it belongs to, file).
    """
    image_of: dict[Path, Path] = {}
    inputs = {path.resolve() for path in inputs}
    for image, path in outputs:
        place = path.resolve()
        if place in image_of:
            raise UserError(f"{image_of[place]} and {image} would both write {path}; give one of them, or two --out")
        if place in inputs:
            raise UserError(f"{path} is an input and would be replaced; give another --out")
        if os.path.lexists(path) and not overwrite:
            raise UserError(f"{path} exists; give --overwrite to replace it, or another --out")
        image_of[place] = image
