"""The entry point `python -m geopose`: every command starts, and says what it is."""

import importlib
import re
import subprocess
import sys

import pytest
import torch
from helpers import REPO, assert_user_error, ok, run

from geopose.__main__ import COMMANDS, describe_commands
from geopose.cli import Parser, run_command


def test_without_a_command_all_are_listed():
    listed = ok(run("-m", "geopose"))
    assert listed.strip() == describe_commands()
    for name, (_, summary) in COMMANDS.items():
        assert f"{name} " in listed and summary in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_its_help(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"python -m geopose {name}", "--help"])
    with pytest.raises(SystemExit) as status:
        importlib.import_module(COMMANDS[name][0]).main()
    assert status.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"usage: python -m geopose {name} " in shown
    assert "example: python" in shown


def test_a_closed_pipe_ends_quietly():
    script = "from geopose.cli import run_command; run_command(lambda: print('fault\\n' * 100_000))"
    command = f'{sys.executable} -c "{script}" | head -1'
    done = subprocess.run(["bash", "-c", command], cwd=REPO, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("fault\n", "")


def test_a_full_gpu_is_one_line(capsys):
    def main():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB.")

    with pytest.raises(SystemExit) as status:
        run_command(main)
    assert status.value.code == 2
    assert capsys.readouterr().err.startswith("error: CUDA out of memory; compute in bf16, or use smaller batches")


def test_the_help_shows_a_default_of_0_and_no_empty_one():
    parser = Parser("Count.", "python -m geopose count")
    parser.add_argument("--first", type=int, default=0, help="first number")
    parser.add_argument("--others", nargs="*", default=[], help="other numbers")
    parser.add_argument("--last", type=int, help="last number")
    parser.add_argument("--backwards", action="store_true", help="count backwards")
    shown = parser.format_help()
    assert re.findall(r"\(default: .*\)", shown) == ["(default: 0)"]


def test_a_command_gets_its_arguments_and_its_errors_name_it():
    result = run("-m", "geopose", "evaluate", "--truth", "nowhere", "--pred", "nowhere")
    assert_user_error(result, "nowhere: no such folder")
    assert_user_error(run("-m", "geopose", "evaluate", "--trth", "x"), "'python -m geopose evaluate --help'")


def test_an_unknown_command_is_answered_with_the_nearest():
    assert_user_error(run("-m", "geopose", "evalute"), "no command 'evalute'", "did you mean evaluate?")


@pytest.mark.parametrize(
    ("script", "name"), [("train.py", "train"), ("predict.py", "predict"), ("make_folds.py", "folds")]
)
def test_the_scripts_run_the_same_commands(script, name):
    assert COMMANDS[name][0] in (REPO / script).read_text()
    described = [ok(run(*words, "--help")).split("\n\n", 1)[1] for words in ((script,), ("-m", "geopose", name))]
    assert described[0] == described[1]
