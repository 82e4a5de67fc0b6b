"""A file that changes holds the old or the new, is its owner's alone, and what killed writers left
goes."""

import os
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from common import home_files
from common.home_files import ABANDONED_AFTER, take_place, write_once, write_whole
from common.settings import Settings


def test_a_file_is_replaced_and_nothing_lies_beside_it(tmp_path):
    path = tmp_path / "made" / "today"
    write_whole(path, "2026-11-23\n")
    write_whole(path, "2026-11-24\n")
    assert path.read_text() == "2026-11-24\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old(tmp_path, monkeypatch):
    path = tmp_path / "today"
    write_whole(path, "old")

    def full(descriptor):
        raise OSError("full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_goes_when_its_time_is_over(tmp_path):
    left, written_now = tmp_path / ".today.0123", tmp_path / ".today.4567"
    left.touch()
    written_now.touch()
    long_ago = time.time() - ABANDONED_AFTER - 1
    os.utime(left, (long_ago, long_ago))
    write_whole(tmp_path / "today", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".today.4567", "today"]


def test_what_is_written_once_stays(tmp_path):
    write_once(tmp_path / "key", "first")
    write_once(tmp_path / "key", "second")
    assert (tmp_path / "key").read_text() == "first"
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_two_that_make_the_key_have_one(tmp_path):
    with get_context("spawn").Pool(3) as pool:
        keys = pool.map(key_of, [tmp_path] * 12)
    assert len(set(keys)) == 1


def key_of(home):
    return Settings(home=home).pseudonym_key


def test_a_folder_takes_the_place_of_another_at_once(tmp_path):
    new, final = tmp_path / ".building", tmp_path / "2026-11-23"
    for folder, word in ((new, "new"), (final, "old")):
        folder.mkdir()
        (folder / "file").write_text(word)
    take_place(new, final)
    assert (final / "file").read_text() == "new"
    assert (new / "file").read_text() == "old"


def test_for_no_instant_there_is_none(tmp_path, monkeypatch):
    def renamed(*_):
        raise AssertionError("moved away first")

    monkeypatch.setattr(Path, "rename", renamed)
    test_a_folder_takes_the_place_of_another_at_once(tmp_path)


def test_where_folders_cannot_change_places_they_are_moved(tmp_path, monkeypatch):
    monkeypatch.setattr(home_files, "_exchanged", lambda *_: False)
    test_a_folder_takes_the_place_of_another_at_once(tmp_path)


def test_a_refused_exchange_is_an_error(tmp_path):
    (tmp_path / "final").mkdir()
    with pytest.raises(FileNotFoundError):
        take_place(tmp_path / "none", tmp_path / "final")
