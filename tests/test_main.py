"""The entry point `python -m geopose`: every command starts, and says what it is."""

import importlib
import sys

import pytest
from helpers import REPO, assert_user_error, ok, run

from geopose.__main__ import COMMANDS, describe_commands


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
    assert f"usage: python -m geopose {name} " in capsys.readouterr().out


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
