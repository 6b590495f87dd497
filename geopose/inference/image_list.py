"""The images that `predict.py --images-from` names: in a text file, on standard input, or by a pattern."""

import glob
import sys
from pathlib import Path

from geopose.cli import UserError, list_some

STANDARD_INPUT = "-"


def read_image_list(source: str) -> list[Path]:
    """The images of a list, each once, in the list's order.

    source: a text file with one path or pattern per line, "-" for such lines on standard input, or a pattern such as
    scenes/*.tif. Paths are relative to the working folder. Raises UserError for an empty list, a pattern that matches
    nothing, and a path that is no file.
    """
    lines = [line.strip() for line in read_lines(source)]
    images = dict.fromkeys(path for line in lines if line for path in find_images(line, source))
    if not images:
        raise UserError(f"{source}: names no image; write one path per line")
    missing = [image for image in images if not image.is_file()]
    if missing:
        count = f"{len(missing)} of {len(images)} images"
        raise UserError(f"{source}: {count} are missing or no files ({list_some(missing)}); correct their paths")
    return list(images)


def read_lines(source: str) -> list[str]:
    """The lines of a list; a pattern is a list of one line."""
    path = Path(source)
    if source == STANDARD_INPUT:
        return sys.stdin.read().splitlines()
    if path.is_dir():
        raise UserError(f"{source}: is a folder; give a text file with one path per line, or a pattern in quotes")
    if not path.exists() and glob.has_magic(source):
        return [source]
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        raise UserError(f"{source} missing; give a text file with one path per line, or a pattern in quotes") from None
    except ValueError:  # not UTF-8, or a line with the byte 0
        raise UserError(f"{source}: not text; give a list with one path per line, or a pattern in quotes") from None


def find_images(line: str, source: str) -> list[Path]:
    """The image that a line of a list names, or all that its pattern matches, sorted."""
    if "\0" in line:
        raise UserError(f"{source}: not text; give a list with one path per line, or a pattern in quotes")
    if Path(line).exists() or not glob.has_magic(line):
        return [Path(line)]
    found = sorted(map(Path, glob.glob(line, recursive=True)))  # noqa: PTH207  Path.glob takes no absolute pattern
    if not found:
        where = "" if line == source else f"{source}: "
        raise UserError(f"{where}'{line}' matches no file; correct the pattern")
    return found
