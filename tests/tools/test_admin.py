# SPDX-License-Identifier: MIT
"""The admin client gives an answer or a sentence, whatever is behind the socket."""

import errno
import os

import pytest

from iomapd.errors import MountError
from iomapd.server import runtime
from iomapd.tools import admin
from tests.tools.fake_server import HANG_UP, fake_server, mount_entry

pytestmark = pytest.mark.usefixtures("private_runtime_dir")


def test_a_question_goes_out_as_one_line_and_its_result_comes_back():
    entry = mount_entry()
    with fake_server(entry, {"map": {"ok": True, "result": {"size": 7}}}) as server:
        assert admin.request_mount(entry, "map", ino=12) == {"size": 7}
    assert server.asked == [{"op": "map", "ino": 12}]


def test_an_answer_larger_than_a_buffer_arrives_whole():
    entry = mount_entry()
    extents = [{"offset": n, "length": 4096} for n in range(20_000)]
    with fake_server(entry, {"map": {"ok": True, "result": {"extents": extents}}}):
        assert admin.request_mount(entry, "map")["extents"] == extents


def test_a_refusal_keeps_the_servers_line_and_errno():
    entry = mount_entry()
    refusal = {"ok": False, "error": "unit = 3000: must be a multiple of 4KiB", "errno": 22}
    with (
        fake_server(entry, {"layout.set": refusal}),
        pytest.raises(admin.ServerError, match="unit = 3000: must be") as caught,
    ):
        admin.request_mount(entry, "layout.set")
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (HANG_UP, "closed the connection in the middle"),
        (b"no json\n", "is not JSON"),
        (b"[1, 2]\n", "wrong shape"),
        (b'{"ok": true, "result": 7}\n', "wrong shape"),
    ],
)
def test_an_answer_that_is_none_is_told_as_such(answer, sentence):
    entry = mount_entry()
    with fake_server(entry, {"info": answer}), pytest.raises(MountError, match=sentence):
        admin.request_mount(entry, "info")


def test_a_server_that_says_nothing_is_given_up_by_name():
    entry = mount_entry()
    with (
        fake_server(entry, {"info": b""}),
        pytest.raises(MountError, match=rf"pid {os.getpid()}\) did not answer 'info' within"),
    ):
        admin.request_mount(entry, "info", timeout=0.05)


def test_a_mount_without_server_says_how_to_end_it():
    with pytest.raises(MountError, match="iomapd umount --force /mnt/x"):
        admin.request_mount(mount_entry(), "info")


def test_a_socket_that_a_dead_server_left_is_no_server(private_runtime_dir):
    entry = mount_entry()
    with fake_server(entry, {}):
        pass
    assert runtime.socket_of_mount(entry).is_socket()
    with pytest.raises(MountError, match="no iomapd server listens"):
        admin.request_mount(entry, "info")


def test_a_mount_of_another_kind_is_named():
    with pytest.raises(MountError, match="is tmpfs, not an iomapd volume"):
        admin.request_mount(mount_entry(fstype="tmpfs"), "info")


def test_a_socket_of_somebody_who_does_not_own_the_mount_is_not_trusted(monkeypatch):
    entry = mount_entry()
    monkeypatch.setattr(admin, "peer_of", lambda channel: admin.Peer(pid=1, uid=4711))
    with (
        fake_server(entry, {"info": {"ok": True, "result": {}}}),
        pytest.raises(MountError, match="served by user 4711, who does not own /mnt/x"),
    ):
        admin.request_mount(entry, "info")


def test_a_file_elsewhere_is_not_on_a_volume(tmp_path):
    with pytest.raises(MountError, match="is not on a mounted iomapd volume"):
        admin.mount_of_device(tmp_path.stat().st_dev, tmp_path)


def test_a_directory_that_is_no_mountpoint_is_said(tmp_path):
    with pytest.raises(MountError, match="nothing is mounted there"):
        admin.request(tmp_path, "info")


def test_a_socket_out_of_reach_says_whom_to_ask(monkeypatch):
    def refuse(self, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(MountError, match=r"/mnt/x: is served by user \d+, who alone may ask"):
        admin.request_mount(mount_entry(), "info")


def test_a_volume_is_known_by_its_type_or_by_its_socket():
    assert admin.is_ours(mount_entry())
    disguised = mount_entry(fstype="fuse")
    assert not admin.is_ours(disguised)
    with fake_server(disguised, {}):
        assert admin.is_ours(disguised)
    assert not admin.is_ours(mount_entry(fstype="tmpfs"))
