# SPDX-License-Identifier: MIT
import errno
import stat

import pytest

OWNER = (7, 8)


@pytest.fixture
def inode(control):
    return control.names.make(1, b"f", 0o106755, OWNER)


def raises(number):
    return pytest.raises(OSError, check=lambda exc: exc.errno == number)


def test_chown_clears_suid_and_sgid(control, inode):
    control.attributes.set(inode, uid=1)
    assert stat.S_IMODE(inode.mode) == 0o755


def test_chown_keeps_sgid_where_the_group_may_not_execute(control):
    inode = control.names.make(1, b"locked", 0o102644, OWNER)
    control.attributes.set(inode, gid=1)
    assert stat.S_IMODE(inode.mode) == 0o2644


def test_chown_keeps_the_bits_of_a_directory(control):
    inode = control.names.make(1, b"d", 0o042755, OWNER)
    control.attributes.set(inode, gid=1)
    assert stat.S_IMODE(inode.mode) == 0o2755


def test_chmod_cannot_change_the_type(control, inode):
    control.attributes.set(inode, mode=0o040700)
    assert inode.mode == 0o100700


def test_a_write_drops_capabilities_always_and_suid_when_told(control, inode):
    control.attributes.set_xattr(inode, b"security.capability", b"cap")
    control.attributes.kill_privileges(inode, suid=False)
    assert control.attributes.xattr_names(inode) == []
    assert stat.S_IMODE(inode.mode) == 0o6755
    control.attributes.kill_privileges(inode, suid=True)
    assert stat.S_IMODE(inode.mode) == 0o755


def test_a_time_beyond_64_bits_of_nanoseconds_becomes_the_last_that_fits(control, inode):
    year_2300, year_1600 = 10_413_792_000 * 10**9, -11_676_096_000 * 10**9
    control.attributes.set(inode, atime_ns=year_1600, mtime_ns=year_2300)
    assert (inode.atime_ns, inode.mtime_ns) == (-(2**63), 2**63 - 1)


def test_xattr_limits_have_their_errnos(control, inode):
    keeper = control.attributes
    keeper.set_xattr(inode, b"user.big", bytes(65536))
    with raises(errno.E2BIG):
        keeper.set_xattr(inode, b"user.big", bytes(65537))
    with raises(errno.EOPNOTSUPP):
        keeper.set_xattr(inode, b"system.posix_acl_access", b"")
    with raises(errno.ENODATA):
        keeper.xattr(inode.ino, b"user.none")
    with raises(errno.ENODATA):
        keeper.remove_xattr(inode, b"user.none")
    with raises(errno.ENOSPC):
        for n in range(400):
            keeper.set_xattr(inode, b"user." + b"n" * 200 + b"%04d" % n, b"")


def test_attributes_reach_the_store_with_the_durable_size_only(control, inode):
    inode.size = 12345
    control.attributes.set(inode, mode=0o600)
    assert control.core.store.names.inode(inode.ino).size == 0
