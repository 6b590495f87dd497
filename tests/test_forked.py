"""A command that is forked from the server of the tests does what a process of its own does."""

import pytest
from helpers import assert_user_error, run, run_alone, run_together

SCRIPT = """
import os, sys
from geopose.cli import UserError, run_command
print(sys.argv[1:], os.environ["WORD"], os.getcwd(), __name__)
def main():
    what = sys.argv[1]
    if what == "mistake":
        raise UserError("a file is missing")
    return 1 / 0 if what == "fault" else int(what)
run_command(main)
"""


@pytest.mark.parametrize("what", ["0", "3", "mistake", "fault"])
def test_output_and_status_are_those_of_a_process_of_its_own(tmp_path, monkeypatch, what):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setenv("WORD", "here")
    monkeypatch.setenv("PYTHONPATH", ".")
    forked, alone = run(script, what), run_alone(script, what)
    assert (forked.returncode, forked.stdout) == (alone.returncode, alone.stdout)
    assert forked.stderr.splitlines()[-1:] == alone.stderr.splitlines()[-1:]
    if what == "mistake":
        assert_user_error(forked, "a file is missing")


def test_each_of_several_processes_has_its_rank(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os\nprint(os.environ['RANK'], os.environ['WORLD_SIZE'])\n")
    assert [done.stdout for done in run_together(script)] == ["0 2\n", "1 2\n"]
