"""How a command ends, and what it says of its progress."""

import io

import pytest

from signsal_jax import _checks, _endings, _progress


def raised_by(function):
    try:
        function()
    except Exception as error:
        return error
    pytest.fail("nothing was raised")


def test_our_own_checks_and_the_system_are_expected_and_nothing_else(tmp_path):
    assert _endings.is_expected(raised_by(lambda: _checks.check_member("a", 1, ["b"])))
    assert _endings.is_expected(raised_by(lambda: (tmp_path / "none").read_text()))
    # The same types, out of bugs: in code of others, and in a line of ours that is no check.
    assert not _endings.is_expected(raised_by(lambda: int("x")))
    assert not _endings.is_expected(raised_by(lambda: _checks.check_member("a", 1, 3)))
    assert not _endings.is_expected(KeyError("x"))


def test_statuses(capsys):
    def fail(error):
        raise error

    assert _endings.run("program", lambda: 3) == 3
    assert _endings.run("program", lambda: fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "program: interrupted; completed parts are kept\n"
    assert _endings.run("program", lambda: fail(ValueError("x"))) == 70
    assert "Traceback" in capsys.readouterr().err


def test_away_from_a_terminal_progress_is_a_line_every_half_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    with _progress.progress("training", 100, "step", initial=10) as shown:
        shown.set_postfix({"loss": "0.5"})
        for second in range(1, 65):
            now[0] = float(second)
            shown.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "training: step 40 of 100 (40%), 1 per second, 01:00 left, loss 0.5",
        "training: step 70 of 100 (70%), 1 per second, 00:30 left, loss 0.5",
    ]


def test_on_a_terminal_progress_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(_progress, "_DELAY_SECONDS", 0)
    with _progress.progress("training", 2, "step") as shown:
        shown.update(2)
    assert "training: 100%|" in terminal.getvalue()
    with _progress.progress("hidden", 2, "step", hidden=True) as shown:
        shown.update(2)
    assert "hidden" not in terminal.getvalue()
