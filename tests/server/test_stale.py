# SPDX-License-Identifier: MIT
import errno
import os
import socket
from types import SimpleNamespace

import pytest

from iomapd.server import stale


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """A mount of ours whose admin socket would be *entry.socket*; nothing is mounted."""
    entry = SimpleNamespace(
        mountpoint=tmp_path, fstype=stale.FSTYPE, socket=tmp_path / "0-1.sock", unmounted=[]
    )
    monkeypatch.setattr(stale, "socket_of_mount", lambda _: entry.socket)
    monkeypatch.setattr(stale, "find_mount", lambda _: None if entry.unmounted else entry)
    monkeypatch.setattr(stale, "unmount", lambda path, lazy: entry.unmounted.append(path))
    monkeypatch.setattr(stale, "ANSWER_S", 0.05)
    return entry


@pytest.fixture
def listener(entry):
    """Somebody who listens on the admin socket and says nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(entry.socket))
        listener.listen()
        yield listener


def gone(_path):
    raise OSError(errno.ENOTCONN, "not connected")


def untouchable(path):
    raise AssertionError(f"{path} was touched")


def test_a_mount_without_server_and_connection_is_cleared(entry, monkeypatch):
    monkeypatch.setattr(os, "statvfs", gone)
    stale.clear_stale(entry.mountpoint)
    assert entry.unmounted == [entry.mountpoint]


def test_a_mount_that_answers_is_left_alone(entry):
    stale.clear_stale(entry.mountpoint)
    assert not entry.unmounted


def test_a_mount_whose_server_listens_is_not_touched(entry, listener, monkeypatch):
    monkeypatch.setattr(os, "statvfs", untouchable)
    assert not stale.is_dead(entry)


def test_a_mount_of_another_kind_is_not_touched(entry, monkeypatch):
    monkeypatch.setattr(os, "statvfs", untouchable)
    entry.fstype = "fuse.sshfs"
    stale.clear_stale(entry.mountpoint)
    assert not entry.unmounted
