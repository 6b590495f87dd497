"""What the README and docs tell a reader to type, and the files they name, exist."""

import re
import shlex

import pytest
from helpers import RELEASED, REPO, run

from geopose.config import load_config

PAGES = [REPO / "README.md", REPO / "runs" / "README.md", *sorted((REPO / "docs").glob("*.md"))]
MAKEFILE = (REPO / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z]+) *\?=", MAKEFILE, re.MULTILINE))


def commands(page) -> list[str]:
    """Lines of code blocks and inline code that start a command; continued lines joined."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    lines = [line.strip() for block in blocks for line in block.splitlines()] + inline
    return [line for line in lines if re.match(r"(make|srun|(\.venv/bin/)?(python|torchrun)) ", line)]


def python_commands() -> dict[str, set[str]]:
    """Script or module -> flags that the pages use with it."""
    used: dict[str, set[str]] = {}
    for page in PAGES:
        for line in commands(page):
            found = re.search(r"(?:python|torchrun|srun)\b.*?((?:-m geopose(?: [a-z]+)?)|\w+\.py)(.*)", line)
            if found:
                flags = re.findall(r"(?<!\S)(--[a-z][a-z-]*)", found.group(2))
                used.setdefault(found.group(1), set()).update(flags)
    return used


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_make_targets_and_variables_exist(page):
    for line in commands(page):
        if not line.startswith("make "):
            continue
        for word in shlex.split(line)[1:]:
            name, assigned, _ = word.partition("=")
            assert name in (VARIABLES if assigned else TARGETS), f"{page.name}: {line}"


@pytest.mark.parametrize("command", sorted(python_commands()))
def test_commands_and_flags_exist(command):
    result = run(*command.split(), "--help")
    assert result.returncode == 0, result.stderr
    known = set(re.findall(r"--[a-z][a-z-]*", result.stdout))
    assert python_commands()[command] <= known


def test_the_readmes_two_commands_are_there_and_ci_runs_the_second():
    assert {"make submission", "make test"} <= set(commands(REPO / "README.md"))
    assert "make test" in (REPO / ".ci" / "run").read_text()


def anchors(page) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_files_and_links_exist():
    for page in PAGES:
        text = page.read_text()
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
            if not target.startswith("http"):
                linked = page.parent / target if target else page
                assert linked.exists(), f"{page.name}: {target}"
                assert not anchor or anchor in anchors(linked), f"{page.name}: {target}#{anchor}"
        for path in re.findall(r"\b(?:geopose|configs|docs|tests)/[\w/]+\.(?:py|yaml|md)\b", text):
            assert (REPO / path).exists(), f"{page.name}: {path}"


def test_names_that_a_page_places_in_a_file_are_there():
    placed = re.compile(r"`(\w+)(?:\.\w+)*` (?:in|of) `(geopose/[\w/]+\.py)`")
    found = [(page, *match) for page in PAGES for match in placed.findall(page.read_text())]
    assert found
    for page, name, path in found:
        assert re.search(rf"^(?:class |def )?{name}\b", (REPO / path).read_text(), re.MULTILINE), (
            f"{page}: {name}, {path}"
        )


def test_the_released_runs_tiles_are_rendered_as_make_release_does():
    """runs/README.md tells how to render the tiles of the released run, whose folder its config names."""
    root = load_config(RELEASED / "config.yaml").data.root
    (told,) = [line for line in commands(REPO / "runs" / "README.md") if " synthesize " in line]
    words = told.partition(" synthesize ")[2]
    assert f"--out {root} " in words
    assert f" synthesize {words}\n" in MAKEFILE


def test_every_target_of_the_makefile_is_in_its_help():
    documented = set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.MULTILINE))
    assert documented == TARGETS
    shown = re.search(r"variables and their current values.*", MAKEFILE, re.DOTALL).group()
    assert all(f"{name}=" in shown for name in VARIABLES - {"PYTHON", "RUN"})


def test_the_first_page_is_short():
    assert len((REPO / "README.md").read_text().splitlines()) <= 170
