"""Many scenes in one job: `predict.py --images-from LIST`, alone or in several processes that torchrun starts.

The processes share the scenes, and each works on whole ones. They may run on several machines, if all see the same
folders. Finished scenes are skipped. A scene that cannot be predicted is named, and the others are predicted. At the
end the first process prints a table of all scenes and writes it as scenes.csv.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from geopose.cli import UserError, one_line, print_error
from geopose.inference.outputs import output_paths, refuse_overwriting
from geopose.inference.scene_records import DONE, SceneRecords
from geopose.io.files import make_folder, write_bytes
from geopose.io.names import agl_name, vflow_name
from geopose.io.rasters import image_size

TABLE = "scenes.csv"
DIGITS = {"gsd_m": 3, "angle_rad": 3, "scale_px_per_m": 3, "seconds": 1}


def without_outputs(images: list[Path], records: SceneRecords) -> list[Path]:
    """The images without those that this job wrote itself: a pattern may match them, too, if it resumes."""
    begun = [image for image in images if records.read(image) is not None]
    written = {path.resolve() for image in begun for path in output_paths(image, records.out, rectified=True)}
    return [image for image in images if image.resolve() not in written]


def find_todo(images: list[Path], records: SceneRecords, overwrite: bool) -> list[Path]:
    """The scenes that are not finished, largest files first, so that the processes end at about the same time.

    Raises UserError when an output would replace another one, an image, or, without overwrite, a file that was not
    written by this job with these settings.
    """
    make_folder(records.out)
    outputs = [(image, path) for image in images for path in records.outputs(image)]
    refuse_overwriting(outputs, images, overwrite=True)
    todo = [image for image in images if not records.is_finished(image)]
    if not overwrite:
        for image in todo:
            records.refuse_replacing(image)
    return sorted(todo, key=lambda image: (-image.stat().st_size, str(image)))


def predict_share(share: list[Path], records: SceneRecords, predict: Callable[[Path, bool], None]) -> None:
    """Predict the scenes of one process.

    predict writes the outputs of one scene. It is also told whether the scene has its heights and pose already.
    """
    for image in share:
        has_heights = records.has_heights(image)
        records.begin(image)
        start = time.perf_counter()
        try:
            predict(image, has_heights)
        except UserError as error:
            print_error(error)
            records.fail(image, one_line(error))
            continue
        records.finish(image, describe_outputs(image, records.out) | {"seconds": time.perf_counter() - start})


def describe_outputs(image: Path, out: Path) -> dict:
    """Width and height in pixels of a predicted scene, and the content of its _VFLOW.json."""
    height, width = image_size(out / agl_name(image.stem))
    return {"width": width, "height": height} | json.loads((out / vflow_name(image.stem)).read_text())


def tabulate(images: list[Path], records: SceneRecords, todo: list[Path]) -> pd.DataFrame:
    """One row per scene. status: predicted (by this call), finished before, or failed with its error."""
    rows, now = [], set(todo)
    for image in images:
        record = records.read(image)
        done = record is not None and record.status == DONE
        status = "predicted" if image in now else "finished before"
        facts = record.facts if record else {"error": "its process ended"}
        rows.append({"image": str(image), **facts, "status": status if done else "failed"})
    columns = ["image", "width", "height", "gsd_m", "angle_rad", "scale_px_per_m", "seconds", "status", "error"]
    table = pd.DataFrame(rows)
    others = [name for name in table if name not in columns]  # whatever else _VFLOW.json tells
    table = table.reindex(columns=[*columns[:-2], *others, *columns[-2:]])
    return table.astype({"width": "Int64", "height": "Int64"}).round(DIGITS)


def end_with_table(images: list[Path], records: SceneRecords, todo: list[Path]) -> int:
    """Print the table of all scenes and write scenes.csv. Returns 2 if a scene failed, otherwise 0."""
    table = tabulate(images, records, todo)
    write_bytes(records.out / TABLE, table.to_csv(index=False).encode())
    failed = int((table.status == "failed").sum())
    shown = table if failed else table.drop(columns="error")
    print(shown.to_string(index=False, na_rep=""))
    print(f"{records.out / TABLE}: {len(images)} scenes, {len(todo) - failed} predicted now, {failed} failed")
    return 2 if failed else 0
