# SPDX-License-Identifier: MIT
"""Run pytest as an ordinary user: ``python -m tests.mounted.as_user [PYTEST ARGUMENT...]``.

Called by root it becomes `nobody`; called by anybody else it just runs pytest.  An
ordinary user needs three things that root's machine may withhold: to open /dev/fuse
(udev gives 0666, a bare devtmpfs 0600), and to reach the interpreter and the checkout,
which may lie under root's closed home.  Both are arranged in a mount namespace of
this process's own, so that nothing on the machine changes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mounted import plumbing

ROOT = Path(__file__).parent.parent.parent
USER = "nobody"
# How the outer process tells the inner one its directories.
STAGE, HOME, OUTSIDE = "IOMAPD_TEST_STAGE", "IOMAPD_TEST_HOME", "IOMAPD_TEST_OUTSIDE"


def main() -> int:
    """Run pytest as an ordinary user; its exit status."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *sys.argv[1:]]
    if os.geteuid() != 0:
        return subprocess.run(pytest, cwd=ROOT, check=False).returncode
    if STAGE in os.environ:
        return inside(Path(os.environ[STAGE]), pytest)
    return outside()


def outside() -> int:
    """Start this module again in a namespace of its own, and tidy up after it.

    What is mounted in there is not visible out here, so the removal below meets plain
    files only.  Never remove anything from inside: it would follow the bind mounts.
    """
    user = pwd.getpwnam(USER)
    stage, home = (Path(tempfile.mkdtemp(prefix=f"iomapd-{what}-")) for what in ("stage", "home"))
    os.chown(home, user.pw_uid, user.pw_gid)
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m",
               "tests.mounted.as_user", *sys.argv[1:]]  # fmt: skip
    environ = os.environ | {STAGE: str(stage), HOME: str(home), OUTSIDE: namespace()}
    try:
        return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode
    finally:
        stage.rmdir()
        assert not any(m.target.startswith(str(home)) for m in plumbing.mounts())
        shutil.rmtree(home)


def namespace() -> str:
    """The mount namespace of this process."""
    return os.readlink("/proc/self/ns/mnt")


def inside(stage: Path, pytest: list[str]) -> int:
    """Open the ways in this namespace and become the user; all mounts end with this process."""
    assert namespace() != os.environ[OUTSIDE], "these mounts are not for the whole machine"
    mount("-t", "tmpfs", "-o", "mode=755", "none", stage)
    open_fuse(stage)
    for tree in (Path(sys.base_prefix).resolve(), ROOT.resolve()):
        open_the_way_to(tree, stage)
    user = pwd.getpwnam(USER)
    home = os.environ[HOME]
    dropped = (STAGE, HOME, OUTSIDE)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("XDG_") and k not in dropped}
    environ = kept | {
        "HOME": home,
        "TMPDIR": home,
        # Without it the servers' sockets and logs would stay behind in /tmp.
        "XDG_RUNTIME_DIR": home,
        "USER": USER,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        pytest, cwd=ROOT, env=environ, check=False,
        user=user.pw_uid, group=user.pw_gid, extra_groups=[],
    )  # fmt: skip
    return done.returncode


def mount(*arguments: object) -> None:
    """mount(8), which must succeed."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def open_fuse(stage: Path) -> None:
    """Let everybody open /dev/fuse, and aborts of one's own connections, in this namespace."""
    status = os.stat("/dev/fuse")
    if status.st_mode & 0o006 != 0o006:
        node = stage / "fuse"
        os.mknod(node, status.st_mode | 0o666, status.st_rdev)
        node.chmod(0o666)
        mount("--bind", node, "/dev/fuse")
    connections = Path("/sys/fs/fuse/connections")
    if connections.is_dir() and not os.path.ismount(connections):
        mount("-t", "fusectl", "none", connections)


def open_the_way_to(tree: Path, stage: Path) -> None:
    """Make *tree* readable: cover the first closed directory above it, bind *tree* back."""
    closed = next((p for p in reversed(tree.parents) if not p.stat().st_mode & 0o001), None)
    if closed is None:
        return
    kept = stage / f"tree{len(list(stage.iterdir()))}"
    kept.mkdir()
    # Read-only, so that not even a mistake can reach what lies behind.
    mount("--bind", "-o", "ro", tree, kept)
    mount("-t", "tmpfs", "-o", "mode=755", "none", closed)
    tree.mkdir(parents=True)
    mount("--bind", "-o", "ro", kept, tree)


if __name__ == "__main__":
    sys.exit(main())
