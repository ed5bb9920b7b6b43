# SPDX-License-Identifier: MIT
"""Real programs on the volume: cp, diff, git, tar, rsync, sqlite3, and what they check."""

import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mounted.harness import SOAK, is_root

VOLUME = {"members": 4, "sizes": ("256MiB",)}


def run(*command, cwd=None, env=None):
    """Run a program that must succeed; its stdout."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed: apt install {command[0]}")
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A real source tree with links, modes, odd names, holes and an attribute."""
    packages = Path(pytest.__file__).parent.parent
    tree = tmp_path_factory.mktemp("source") / "tree"
    for name in ("trio", "rich", *(["numba"] if SOAK else [])):
        shutil.copytree(packages / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    odd = tree / "odd"
    odd.mkdir(mode=0o2750)
    (odd / "run.sh").write_text("#!/bin/sh\n")
    (odd / "run.sh").chmod(0o755)
    os.link(odd / "run.sh", odd / "hard")
    os.symlink("../nowhere", odd / "dangling")
    os.symlink("run.sh", odd / "soft")
    os.mkfifo(odd / "fifo")
    (odd / "empty").touch()
    with (odd / "holes").open("wb") as file:
        os.pwrite(file.fileno(), b"end", 3_000_000)
    os.setxattr(odd / "run.sh", "user.comment", b"kept")
    os.utime(odd / "empty", ns=(10**18, 10**18 + 123_456_789))
    return tree


def same(one, other):
    """diff -r, and for each file what diff does not look at."""
    run("diff", "-r", "--no-dereference", "--exclude=fifo", one, other)
    for path in one.rglob("*"):
        twin = other / path.relative_to(one)
        a, b = path.lstat(), twin.lstat()
        assert (a.st_mode, a.st_uid, a.st_gid, a.st_size if path.is_file() else 0) == (
            b.st_mode,
            b.st_uid,
            b.st_gid,
            b.st_size if path.is_file() else 0,
        ), path
        if not path.is_dir():
            assert a.st_mtime_ns == b.st_mtime_ns, path
        assert a.st_nlink == b.st_nlink or path.is_dir(), path


def test_cp_a_of_a_source_tree_and_diff(source, workdir, shared_volume):
    run("cp", "-a", source, workdir / "copy")
    same(source, workdir / "copy")
    assert os.getxattr(workdir / "copy/odd/run.sh", "user.comment") == b"kept"
    shared_volume.remount()
    same(source, workdir / "copy")
    run("cp", "-a", workdir / "copy", workdir / "second")
    same(source, workdir / "second")


def test_tar_into_and_out_of_the_volume(source, workdir, tmp_path):
    run("tar", "-C", source, "-cf", workdir / "tree.tar", "--xattrs", ".")
    (workdir / "out").mkdir()
    run("tar", "-C", workdir / "out", "-xpf", workdir / "tree.tar", "--xattrs")
    same(source, workdir / "out")
    run("tar", "-C", workdir / "out", "-df", workdir / "tree.tar")
    run("tar", "-C", workdir / "out", "--sparse", "-czf", tmp_path / "back.tgz", ".")


def test_rsync_with_everything_and_a_second_time_with_nothing_to_do(source, workdir):
    target = workdir / "copy"
    run("rsync", "-aHAX" if is_root() else "-aHX", f"{source}/", f"{target}/")
    same(source, target)
    compare = ("--checksum", "--itemize-changes", "--dry-run")
    again = run("rsync", "-aHX", *compare, f"{source}/", f"{target}/")
    assert again == ""
    (target / "odd/empty").write_text("changed")
    (target / "odd/soft").unlink()
    (target / "extra").mkdir()
    run("rsync", "-aHX", "--delete", "--inplace", f"{source}/", f"{target}/")
    same(source, target)


def test_git_clones_commits_and_checks_itself(source, workdir, tmp_path):
    environ = os.environ | {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.org",
    }

    def git(where, *arguments):
        return run(
            "git", "-c", "gc.auto=0", "-c", "core.fsync=all", *arguments, cwd=where, env=environ
        )

    origin = tmp_path / "origin"
    shutil.copytree(source, origin, symlinks=True, ignore=shutil.ignore_patterns("fifo"))
    git(origin, "init", "-q")
    for message in ("first", "second"):
        (origin / "message").write_text(message)
        git(origin, "add", "-A")
        git(origin, "commit", "-q", "-m", message)
    git(workdir, "clone", "-q", "--no-hardlinks", origin, "clone")
    clone = workdir / "clone"
    git(clone, "fsck", "--full", "--strict")
    assert git(clone, "status", "--porcelain") == ""
    (clone / "message").write_text("third")
    git(clone, "commit", "-q", "-a", "-m", "third")
    git(clone, "checkout", "-q", "-b", "topic", "HEAD~2")
    git(clone, "merge", "-q", "--no-edit", "master" if "master" in git(clone, "branch") else "main")
    git(clone, "repack", "-q", "-a", "-d")
    git(clone, "fsck", "--full", "--strict")
    assert git(clone, "status", "--porcelain") == ""


TRANSFER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for number in range(int(sys.argv[2])):
    db.execute("BEGIN IMMEDIATE")
    (left,) = db.execute("SELECT amount FROM account WHERE id = 1").fetchone()
    db.execute("UPDATE account SET amount = ? WHERE id = 1", (left - 1,))
    db.execute("UPDATE account SET amount = amount + 1 WHERE id = ?", (int(sys.argv[3]),))
    db.execute("INSERT INTO log VALUES (?, ?, ?)", (int(sys.argv[3]), number, b"x" * 500))
    db.execute("COMMIT")
"""


@pytest.mark.parametrize("journal", ["DELETE", "TRUNCATE", "PERSIST", "WAL"])
def test_sqlite_transactions_of_several_processes_add_up(journal, workdir, shared_volume):
    path = workdir / "bank.db"
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA journal_mode = {journal}")
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER)")
        db.execute("CREATE TABLE log (who, number, padding)")
        db.executemany("INSERT INTO account VALUES (?, ?)", [(1, 1000), (2, 0), (3, 0)])
    db.close()
    count = 40 if not SOAK else 400

    def transfer(who):
        run(sys.executable, "-I", "-c", TRANSFER, path, count, who)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(transfer, (2, 3)))
    shared_volume.remount()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    amounts = dict(db.execute("SELECT id, amount FROM account"))
    assert amounts == {1: 1000 - 2 * count, 2: count, 3: count}
    assert db.execute("SELECT count(*) FROM log").fetchone() == (2 * count,)
    db.close()


def test_python_compiles_and_imports_from_the_volume(source, workdir):
    run("cp", "-a", source / "trio", workdir / "trio")
    # With a clean environment: bytecode is written wherever this run was told not to.
    done = run(sys.executable, "-c", "import trio; print(trio.__file__)", cwd=workdir, env={})
    assert done.strip() == f"{workdir}/trio/__init__.py"
    assert list(workdir.glob("trio/__pycache__/*.pyc"))


def test_shell_programs_agree_on_a_large_file(workdir, tmp_path):
    run("dd", "if=/dev/urandom", f"of={tmp_path}/random", "bs=1M", "count=20")
    run(
        "dd", f"if={tmp_path}/random", f"of={workdir}/direct", "bs=1M", "oflag=direct", "conv=fsync"
    )
    run("cp", "--sparse=always", tmp_path / "random", workdir / "copied")
    run("cmp", tmp_path / "random", workdir / "direct")
    run("cmp", tmp_path / "random", workdir / "copied")
    run("dd", f"if={workdir}/direct", f"of={tmp_path}/back", "bs=777k", "iflag=direct")
    run("cmp", tmp_path / "random", tmp_path / "back")
    run("truncate", "-s", "5M", workdir / "copied")
    run("cmp", "-n", str(5 << 20), tmp_path / "random", workdir / "copied")
