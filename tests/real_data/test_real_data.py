"""The scripts that are run by hand work on small tiles."""

import sys

import pandas as pd
from helpers import REPO, ok, run, run_alone

from geopose.bench.process import MAKEFILE_ALLOCATOR
from geopose.io.tables import check_labels, read_test_table, read_train_table
from tests.real_data import __main__ as page
from tests.real_data.folder import link_folder, make_up_ids, read_ids
from tests.real_data.startup import measure_startup


def test_a_folder_of_links_is_a_competition_folder(rendered, tmp_path):
    ids = tmp_path / "ids.csv"
    ids.write_text(
        "id,city,fold\n"
        + "".join(f"{city}{n}abcd,{city[:3]},0\n" for city in ("ARGx", "ATLx", "JAXx", "OMAx") for n in range(9))
    )
    counts = {"ARG": 1, "ATL": 2, "JAX": 3, "OMA": 5}
    root = link_folder(rendered, tmp_path / "data", read_ids(ids), counts)
    table = read_train_table(root)
    check_labels(table)
    assert table.city.value_counts().to_dict() == counts
    assert table.id.str.match(r"(ARG|ATL|JAX|OMA)_\1x\dabcd").all() and table.id.is_unique
    assert pd.read_csv(root / "geopose_train.csv").id.str.fullmatch(r"\w{4}\dabcd").all()
    assert not set(table.id) & set(read_test_table(root).id)
    assert table.rgb.str.endswith(".j2k").all() and not (root / "truth").exists() and not (root / "places.csv").exists()


def test_the_parts_of_a_start_are_measured_and_extrapolated(rendered, tmp_path):
    root = link_folder(rendered, tmp_path / "data", make_up_ids(19), dict.fromkeys(("ARG", "ATL", "JAX", "OMA"), 10))
    lines = measure_startup(root, root, root, {"ARG": 20, "ATL": 30})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert all(len(row) == 4 for row in rows)
    headers = next(row for row in rows if "headers" in row[0])
    measured, extrapolated = (float(cell.removesuffix(" s")) for cell in headers[2:])
    assert abs(extrapolated / measured - 5923 / 40) < 3  # both have three digits
    assert len(list((root / "prepared" / "train").glob("*_RGB.tif"))) == 40


def test_the_memory_of_the_parts_is_not_hidden_by_an_earlier_peak():
    """In a process of its own, whose allocator gives memory back."""
    code = (
        "from tests.real_data.startup import measure_parts; bytearray(b'x' * 300_000_000); "
        "print(measure_parts({'part': lambda: bytearray(b'x' * 100_000_000)}, 5923)[-1])"
    )
    settings = dict.fromkeys(MAKEFILE_ALLOCATOR, "1000000")  # blocks of more than 1 MB go back at once
    row = ok(run_alone("-c", code, **settings))
    assert float(row.split("|")[3].removesuffix(" MB ")) > 150


def test_nothing_in_the_folder_of_the_work_is_removed(rendered, tmp_path, monkeypatch):
    """Tiles that are rendered already, and a small clustering."""
    work, path = tmp_path / "work", tmp_path / "page.md"
    for name in ("data", "runs"):
        (work / name).mkdir(parents=True)
        (work / name / "mine.txt").touch()
    path.write_text("# Title\n\n## The job\n\nProse.\n\n## 5,923 tiles\n\nMore prose.\n")
    monkeypatch.setattr(page, "PAGE", path)
    monkeypatch.setattr(page, "CITY_SHARES", {"ARG": 20})
    monkeypatch.setattr(page, "render", lambda *_: rendered)
    counts = ["--tiles", "44", "--few", "40", "--rendered", "8", "--train", "12"]
    monkeypatch.setattr(sys, "argv", ["real_data", "startup", "--work", str(work), *counts])
    page.main()
    assert "| read the tables | 44 |" in path.read_text()
    assert sorted(file.name for file in work.rglob("*")) == ["data", "mine.txt", "mine.txt", "runs"]


def test_a_section_of_the_page_is_replaced(tmp_path, monkeypatch):
    path = tmp_path / "page.md"
    path.write_text("# Title\n\n## The job\n\nProse.\n\n## 5,923 tiles\n\nMore prose.\n")
    monkeypatch.setattr(page, "PAGE", path)
    page.write_section("startup", "Commit b.\n\n| 2 |\n")
    for table in ("| 0 |", "| 1 |"):
        page.write_section("job", f"Commit a.\n\n{table}\n")
    assert path.read_text() == (
        "# Title\n\n## The job\n\nProse.\n\nCommit a.\n\n| 1 |\n\n## 5,923 tiles\n\nMore prose.\n\nCommit b.\n\n| 2 |\n"
    )


def test_the_page_has_the_sections():
    text = page.PAGE.read_text()
    assert all(f"\n{heading}\n" in text for heading in page.SECTIONS.values())
    assert "python -m tests.real_data" in text
    assert "job" in ok(run("-m", "tests.real_data", "--help"))
    assert page.PAGE == REPO / "docs" / "real_data.md"
