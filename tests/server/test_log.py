# SPDX-License-Identifier: MIT
"""A log does not grow from mount to mount for ever."""

import pytest

from iomapd.server import __main__ as subject


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "mnt.log"
    path.write_text("before\n")
    return path


def test_a_log_is_continued(log):
    subject._set_aside(log)
    assert log.read_text() == "before\n"


def test_a_long_log_is_set_aside_and_the_one_before_it_goes(log, monkeypatch):
    monkeypatch.setattr(subject, "LOG_MAX", 6)
    log.with_name("mnt.log.1").write_text("long ago\n")
    subject._set_aside(log)
    assert not log.exists()
    assert log.with_name("mnt.log.1").read_text() == "before\n"


def test_the_first_log_is_made(log):
    log.unlink()
    subject._set_aside(log)
    assert not log.exists()
