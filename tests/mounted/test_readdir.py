# SPDX-License-Identifier: MIT
"""A directory that changes while it is listed: what stays is listed exactly once."""

import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.mounted import syscalls
from tests.mounted.harness import soak

# More than fits one READDIRPLUS reply.
STABLE = 700


def test_names_that_stay_are_listed_exactly_once_beside_churn(workdir):
    stable = {f"stable{i}" for i in range(STABLE)}
    for name in stable:
        (workdir / name).touch()
    done = threading.Event()

    def churn(which):
        number = 0
        while not done.is_set():
            path = workdir / f"churn{which}-{number % 50}"
            path.touch()
            os.rename(path, workdir / f"moved{which}-{number % 30}")
            if number % 3 == 0:
                (workdir / f"moved{which}-{number % 30}").unlink()
            number += 1

    def listing():
        for _ in range(soak(8)):
            seen = Counter(os.listdir(workdir))
            twice = [name for name, times in seen.items() if times > 1 and name in stable]
            assert not twice, f"listed more than once: {twice}"
            assert stable <= seen.keys(), f"not listed: {sorted(stable - seen.keys())[:5]}"

    with ThreadPoolExecutor(3) as pool:
        churners = [pool.submit(churn, i) for i in range(2)]
        try:
            pool.submit(listing).result()
        finally:
            done.set()
        for job in churners:
            job.result()


def test_a_position_survives_the_removal_of_its_entry(workdir):
    for i in range(200):
        (workdir / f"n{i:03}").touch()
    listed = syscalls.telldir_listing(workdir)
    order = [name for name, _ in listed]
    assert len(set(order)) == 202  # with . and ..
    for index in (3, 50, 120, 199):
        name, position = listed[index]
        if name.startswith(b"n"):
            (workdir / os.fsdecode(name)).unlink()
        gone = {listed[i][0] for i in (3, 50, 120, 199)}
        wanted = [n for n in order[index + 1 :] if n not in gone]
        found = [n for n in syscalls.names_from(workdir, position) if n not in gone]
        assert found == wanted, f"from the position after entry {index}"


def test_rewinddir_sees_what_was_made_since(workdir):
    (workdir / "one").touch()
    with os.scandir(workdir) as entries:
        assert {e.name for e in entries} == {"one"}
    (workdir / "two").touch()
    assert set(os.listdir(workdir)) == {"one", "two"}


def test_a_listing_carries_true_inode_numbers_and_kinds(workdir):
    (workdir / "file").write_bytes(b"x")
    (workdir / "dir").mkdir()
    os.symlink("file", workdir / "link")
    os.mkfifo(workdir / "fifo")
    with os.scandir(workdir) as entries:
        for entry in entries:
            status = os.lstat(entry.path)
            assert entry.inode() == status.st_ino
            assert entry.is_dir(follow_symlinks=False) == (entry.name == "dir")
            assert entry.is_symlink() == (entry.name == "link")
    dots = dict.fromkeys(name for name, _ in syscalls.telldir_listing(workdir))
    assert {b".", b".."} <= dots.keys()


def test_a_directory_of_thousands_can_be_emptied_while_it_is_listed(workdir):
    """rm -r does this: unlink what readdir gives, between its calls."""
    for i in range(2000):
        (workdir / f"file-{i}").touch()
    with os.scandir(workdir) as entries:
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(workdir) == []
