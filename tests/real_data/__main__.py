"""Run by hand, not by `make test`: python -m tests.real_data job --work DIR, then python -m tests.real_data startup.

Both parts use the tiles that the first of them renders into DIR/rendered. All else is made in a new folder of DIR,
which is removed at the end. Each part writes its section of docs/real_data.md.
"""

import argparse
import tempfile
from pathlib import Path

from geopose.cli import run_command
from geopose.io.files import write_bytes
from geopose.runs.origin import describe_origin
from tests.real_data.folder import CITY_SHARES, link_folder, make_up_ids, read_ids, render
from tests.real_data.job import run_job
from tests.real_data.startup import measure_startup

PAGE = Path(__file__).parents[2] / "docs" / "real_data.md"
SECTIONS = {"job": "## The job", "startup": "## 5,923 tiles"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.real_data", description=__doc__)
    parser.add_argument("part", choices=SECTIONS)
    parser.add_argument("--work", type=Path, default=Path("data/real"), metavar="DIR", help="folder for all files")
    parser.add_argument("--ids", type=Path, metavar="CSV", help="id,city of the challenge; default: made up")
    parser.add_argument("--train", type=int, default=36, help="job: training tiles, a multiple of 12")
    parser.add_argument("--test", type=int, default=4, help="test tiles")
    parser.add_argument("--rendered", type=int, default=36, help="training tiles that differ; the others are links")
    parser.add_argument("--size", type=int, default=2048, help="width and height of a tile in pixels")
    parser.add_argument("--crop", type=int, default=256, help="job: side of the training crops; the recipe's is 768")
    parser.add_argument("--zoom", type=float, default=1.0, help="job: size at which the network sees a tile; recipe: 1")
    parser.add_argument("--tiles", type=int, default=500, help="startup: number of tiles that are measured")
    parser.add_argument("--few", type=int, default=40, help="startup: number of tiles whose features are measured")
    args = parser.parse_args()
    work = args.work.resolve()
    rendered = render(work / "rendered", args.rendered, args.test, args.size)
    ids = read_ids(args.ids) if args.ids else make_up_ids(args.tiles + args.train)
    with tempfile.TemporaryDirectory(prefix=f"{args.part}-", dir=work) as made:
        folder = Path(made)
        if args.part == "job":
            data = link_folder(rendered, folder / "data", ids, unevenly(args.train))
            text = "```\n" + "\n".join(run_job(data, folder, args.crop, args.zoom)) + "\n```\n"
        else:
            many, few, distinct = (
                link_folder(rendered, folder / name, make_up_ids(count), evenly(count))
                for name, count in (("many", args.tiles), ("few", args.few), ("distinct", args.rendered))
            )
            head = ["| part | tiles | measured | 5,923 tiles |", "|---|---|---|---|"]
            text = "\n".join([*head, *measure_startup(many, few, distinct, CITY_SHARES)]) + "\n"
    write_section(args.part, f"{describe_origin(rendered)}\n\n{text}")


def evenly(count: int) -> dict[str, int]:
    """City -> number of tiles."""
    return dict.fromkeys(("ARG", "ATL", "JAX", "OMA"), count // 4)


def unevenly(count: int) -> dict[str, int]:
    """City -> number of tiles. Half of them are of one city, so that there can be as many folds."""
    return {"ARG": count // 2, "ATL": count // 6, "JAX": count // 6, "OMA": count // 6}


def write_section(part: str, text: str) -> None:
    """Replace what follows the origin line of a section of the page, up to the next section."""
    before, heading, rest = PAGE.read_text().partition(SECTIONS[part] + "\n")
    assert heading, f"{PAGE}: no section {SECTIONS[part]}"
    section, following, after = rest.partition("\n## ")
    prose = section.split("\nCommit ")[0].rstrip()
    write_bytes(PAGE, f"{before}{heading}{prose}\n\n{text}{following}{after}".encode())


if __name__ == "__main__":
    run_command(main)
