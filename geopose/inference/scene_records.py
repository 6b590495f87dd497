"""What is known about each of many scenes: which are finished, what they were made of, and what came out.

Every scene has a file <stem>.json in the folder .scenes, beside the scenes' outputs. It is written before the scene is
predicted and again after all of its files have been written, so a half-written scene never looks finished.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from geopose.cli import UserError, list_some
from geopose.inference.outputs import output_paths
from geopose.io.files import make_folder, remove_unfinished_copies, write_bytes

FOLDER = ".scenes"
BEGUN, DONE, FAILED = "begun", "done", "failed"
OF_RECTIFIED = {"rectify", "fill"}  # settings on which heights and pose do not depend
# Ends of the names of files beside an image that its georeference and pose are read from. Not .aux.xml: map viewers
# write statistics there.
COMPANIONS = (".json", ".IMD", ".imd", ".RPB", "_RPC.TXT", "_rpc.txt", ".tfw", ".pgw", ".jgw", ".wld")


@dataclass(frozen=True)
class Record:
    """One scene. recipe: all that determines its outputs, except the code. files: sizes in bytes of its outputs.

    facts: size, pose and seconds of a scene that is done; the error of one that failed.
    """

    status: str
    recipe: dict
    files: dict[str, int] = field(default_factory=dict)
    facts: dict = field(default_factory=dict)


class SceneRecords:
    """The records of the scenes whose outputs go into a folder.

    settings: what determines the outputs of every scene. rectified: whether the outputs include the image without lean.
    """

    def __init__(self, out: Path, settings: dict, rectified: bool):
        self.out, self.settings, self.rectified = out, json.loads(json.dumps(settings)), rectified

    def path(self, image: Path) -> Path:
        """The file of a scene's record."""
        return self.out / FOLDER / f"{image.stem}.json"

    def read(self, image: Path) -> Record | None:
        """A scene's record, or None if there is none that can be read."""
        try:
            return Record(**json.loads(self.path(image).read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def outputs(self, image: Path) -> list[Path]:
        """The files of a scene."""
        return output_paths(image, self.out, self.rectified)

    def is_finished(self, image: Path) -> bool:
        """Whether a scene was predicted with these settings from this image, and all its files are as written."""
        return self._are_made(image, self.outputs(image), set() if self.rectified else OF_RECTIFIED)

    def has_heights(self, image: Path) -> bool:
        """Whether a scene's heights and pose are finished, so that only the image without lean can be missing."""
        return self._are_made(image, output_paths(image, self.out, rectified=False), OF_RECTIFIED)

    def _are_made(self, image: Path, paths: list[Path], irrelevant: set[str]) -> bool:
        record = self.read(image)
        if record is None or record.status != DONE or self._differences(record, image) - irrelevant:
            return False
        return all(path.exists() and path.stat().st_size == record.files.get(path.name) for path in paths)

    def refuse_replacing(self, image: Path) -> None:
        """Raise UserError when a scene's outputs would replace files that this job did not write."""
        record = self.read(image)
        kept = output_paths(image, self.out, rectified=False) if self.has_heights(image) else []
        for path in (path for path in self.outputs(image) if path.exists() and path not in kept):
            if record is None:
                fault = "exists"
            elif record.recipe != self.recipe(image):
                names = list_some(sorted(self._differences(record, image)))
                fault = f"was made with other settings ({names})"
            elif record.status == DONE and path.stat().st_size != record.files[path.name]:
                fault = "was changed after it was written"
            else:
                continue
            raise UserError(f"{path} {fault}; give --overwrite to replace it, or another --out")

    def _differences(self, record: Record, image: Path) -> set[str]:
        now = self.recipe(image)
        return {name for name in {*now, *record.recipe} if now.get(name) != record.recipe.get(name)}

    def begin(self, image: Path) -> None:
        """Record that a scene's outputs are being written, and remove what a killed process left of them."""
        make_folder(self.out / FOLDER)
        for path in self.outputs(image):
            remove_unfinished_copies(path)
        self._write(image, Record(BEGUN, self.recipe(image)))

    def finish(self, image: Path, facts: dict) -> None:
        """Record that all outputs of a scene have been written."""
        files = {path.name: path.stat().st_size for path in self.outputs(image)}
        self._write(image, Record(DONE, self.recipe(image), files, facts))

    def fail(self, image: Path, error: str) -> None:
        """Record that a scene cannot be predicted."""
        self._write(image, Record(FAILED, self.recipe(image), facts={"error": error}))

    def recipe(self, image: Path) -> dict:
        """All that determines a scene's outputs, except the code. The image is known by name, size and time."""
        files = [image, *(image.with_name(image.stem + suffix) for suffix in COMPANIONS)]
        stats = {file.name: file.stat() for file in files if file.is_file()}
        return {"image": {name: [s.st_size, s.st_mtime_ns] for name, s in stats.items()}} | self.settings

    def _write(self, image: Path, record: Record) -> None:
        write_bytes(self.path(image), (json.dumps(asdict(record), indent=2) + "\n").encode())
