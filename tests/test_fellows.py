"""Processes of a study that tell each other, through its folder, who is still at work."""

import itertools

import pytest

from signsal_jax.study import _fellows
from signsal_jax.study._fellows import Fellows, unfinished
from signsal_jax.study._folder import open_folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(_fellows, "GONE_SECONDS", 0.3)
    monkeypatch.setattr(_fellows, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(_fellows, "_POLL_SECONDS", 0.01)


def never():
    return False


def test_whoever_is_at_work_is_waited_for(tmp_path):
    folder = open_folder(tmp_path)
    asked = itertools.count()
    # Far longer than a process without a sign is waited for.
    with Fellows(folder, 0, 2) as one, Fellows(folder, 1, 2):
        assert one.wait(lambda: {1, 3} if next(asked) < 100 else set(), never) == {}
    assert next(asked) > 100


@pytest.mark.parametrize("earlier", [False, True])
def test_who_was_never_seen_is_gone_after_a_while(tmp_path, earlier):
    folder = open_folder(tmp_path)
    if earlier:  # what was left by an earlier start is no sign
        with Fellows(folder, 1, 2):
            pass
    with Fellows(folder, 0, 2) as one:
        gone = one.wait(lambda: {1}, never)
    assert list(gone) == [1]
    assert "has given no sign for 0 s" in gone[1]
    assert ("pid" if earlier else "never seen") in gone[1]


def test_who_fails_is_known_at_once_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(_fellows, "GONE_SECONDS", 1000)
    folder = open_folder(tmp_path)
    with Fellows(folder, 0, 3) as one:
        with pytest.raises(OSError, match="full"), Fellows(folder, 2, 3):
            raise OSError("no space left: the disk is full")
        gone = one.wait(lambda: {5}, never)
    assert "failed with OSError: no space left: the disk is full" in gone[2]
    message = str(unfinished(folder, {5, 8}, 9, gone))
    assert "7 of 9 chunks are committed" in message
    assert "the first is 5" in message
    assert "process 2 (pid " in message
    assert "Start the same command again" in message


def test_who_stopped_is_known_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(_fellows, "GONE_SECONDS", 1000)
    folder = open_folder(tmp_path)
    with Fellows(folder, 0, 2) as one:
        with Fellows(folder, 1, 2) as other:
            assert other.wait(lambda: {1}, lambda: True) == {}
        gone = one.wait(lambda: {1}, never)
    assert gone[1].endswith("stopped")


def test_a_process_that_is_asked_to_stop_waits_for_nobody(tmp_path):
    with Fellows(open_folder(tmp_path), 0, 2) as one:
        assert one.wait(lambda: {1}, lambda: True) == {}


def test_one_alone_writes_nothing(tmp_path):
    with Fellows(open_folder(tmp_path), 0, 1) as one:
        assert one.wait(lambda: {3}, never) == {}
    assert list(tmp_path.iterdir()) == []


def test_who_cannot_write_its_signs_works_on(tmp_path):
    folder = open_folder(tmp_path)
    with Fellows(folder, 0, 2):
        (tmp_path / "processes" / "00000.json").unlink()
        (tmp_path / "processes").rmdir()
        (tmp_path / "processes").write_text("in the way")
