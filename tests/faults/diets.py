# SPDX-License-Identifier: MIT
"""Random work: actors that do what the weights of a *diet* say, side by side."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

import trio

from tests.mounted import tagged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from tests.faults.workload import Workload

KIB = 1024
FILE_MAX = 384 * KIB
FILES_MAX = 14
OTHERS_MAX = 6  # directories, symbolic links

# How often each step comes, by the kind of work.
DIETS: dict[str, dict[str, int]] = {
    "mixed": {
        "create": 8, "append": 14, "overwrite": 10, "sparse": 6, "truncate": 6, "fsync": 8,
        "fdatasync": 6, "dsync": 5, "rename": 4, "replace": 4, "unlink": 5, "link": 2,
        "mkdir": 2, "rmdir": 1, "symlink": 2, "chmod": 2, "xattr": 3, "fsyncdir": 2, "close": 4,
        "exchange": 1,
    },
    "chains": {"create": 3, "append": 20, "overwrite": 12, "fsync": 12, "fdatasync": 14,
               "dsync": 12, "close": 1},
    "reuse": {"create": 10, "fill": 26, "unlink": 10, "truncate": 6, "fsync": 3, "fsyncdir": 2,
              "close": 6},
    "replace": {"create": 5, "append": 10, "replace": 16, "fsync": 2, "overwrite": 4, "unlink": 2},
    "regrow": {"create": 4, "append": 8, "sparse": 14, "truncate": 18, "fsync": 5,
               "fdatasync": 8, "overwrite": 6, "dsync": 5},
    "names": {"create": 10, "mkdir": 6, "rmdir": 3, "rename": 8, "unlink": 7, "link": 5,
              "symlink": 5, "chmod": 4, "xattr": 6, "exchange": 3, "fsyncdir": 3, "append": 2},
    "moves": {"create": 4, "append": 14, "overwrite": 14, "sparse": 4, "truncate": 4, "fsync": 6,
              "fdatasync": 10, "dsync": 6, "unlink": 3, "migrate": 14},
}  # fmt: skip


class RandomWork:
    """Chooses what to do to the volume of *workload*, by *random* and the weights of *diet*."""

    def __init__(self, workload: Workload, random: Random, diet: str) -> None:
        self._work = workload
        self._random = random
        self._weights = DIETS[diet]
        self._serial = 0

    async def run(self, steps: int, actors: int) -> None:
        """Do *steps* steps, *actors* at once."""
        left = iter(range(steps))
        async with trio.open_nursery() as nursery:
            for _ in range(actors):
                nursery.start_soon(self._act, left)

    async def _act(self, left: Iterator[int]) -> None:
        for _ in left:
            (step,) = self._random.choices(list(self._weights), list(self._weights.values()))
            try:
                await getattr(self, f"_{step}")()
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise
            await trio.lowlevel.checkpoint()

    # -- choices

    def _pick(self, *kinds: int) -> str:
        """A name of one of *kinds*; one that leads nowhere, if there is none."""
        paths = [path for kind in kinds or (stat.S_IFREG,) for path in self._work.paths(kind)]
        return self._random.choice(paths) if paths else "nowhere"

    def _new_path(self) -> str:
        self._serial += 1
        parent = self._random.choice(["", *self._work.paths(stat.S_IFDIR)])
        return f"{parent}/n{self._serial}" if parent else f"n{self._serial}"

    def _is_full(self, kind: int, limit: int) -> bool:
        return len(self._work.paths(kind)) >= limit

    # -- names

    async def _create(self) -> None:
        if self._is_full(stat.S_IFREG, FILES_MAX):
            await self._unlink()
        else:
            await self._work.create(self._new_path())

    async def _mkdir(self) -> None:
        if not self._is_full(stat.S_IFDIR, OTHERS_MAX):
            await self._work.mkdir(self._new_path())

    async def _symlink(self) -> None:
        if self._is_full(stat.S_IFLNK, OTHERS_MAX):
            await self._work.unlink(self._pick(stat.S_IFLNK))
        else:
            path = self._new_path()
            await self._work.symlink(path, b"to/%d" % self._serial)

    async def _link(self) -> None:
        if not self._is_full(stat.S_IFREG, FILES_MAX):
            await self._work.link(self._pick(), self._new_path())

    async def _unlink(self) -> None:
        await self._work.unlink(self._pick(), keep_open=self._random.random() < 0.3)

    async def _rmdir(self) -> None:
        await self._work.rmdir(self._pick(stat.S_IFDIR))

    async def _rename(self) -> None:
        await self._work.rename(self._pick(stat.S_IFREG, stat.S_IFDIR), self._new_path())

    async def _replace(self) -> None:
        await self._work.replace(self._pick(), self._pick())

    async def _exchange(self) -> None:
        await self._work.exchange(self._pick(), self._pick())

    async def _chmod(self) -> None:
        await self._work.chmod(self._pick(), self._random.choice((0o600, 0o640, 0o644, 0o755)))

    async def _xattr(self) -> None:
        value = self._random.randbytes(self._random.choice((1, 30, 3000)))
        name = b"user.%d" % self._random.randrange(4)
        await self._work.set_xattr(self._pick(), name, self._random.choice((value, value, None)))

    async def _fsyncdir(self) -> None:
        await self._work.fsyncdir(self._pick(stat.S_IFDIR))

    # -- bytes

    def _length(self) -> int:
        blocks = self._random.choice((1, 1, 2, 3, 5, 9, 17)) * tagged.BLOCK
        return self._random.choice((blocks, blocks, self._random.randint(1, blocks)))

    def _at(self, pos: int, length: int) -> tuple[int, int]:
        return pos, min(length, FILE_MAX - pos)

    def _inside(self, size: int) -> tuple[int, int]:
        pos = self._random.randrange(size) if size else 0
        if self._random.random() < 0.5:
            pos = pos // tagged.BLOCK * tagged.BLOCK
        return pos, min(self._length(), max(size - pos, 0))

    def _behind(self, size: int) -> tuple[int, int]:
        return self._at(size, self._length())

    async def _append(self) -> None:
        await self._work.write(self._pick(), self._behind)

    async def _fill(self) -> None:
        length = self._random.randint(16, 40) * tagged.BLOCK
        await self._work.write(self._pick(), lambda size: self._at(size, length))

    async def _overwrite(self) -> None:
        await self._work.write(self._pick(), self._inside)

    async def _sparse(self) -> None:
        hole, length = self._random.randrange(60 * KIB), self._length()
        await self._work.write(self._pick(), lambda size: self._at(size + hole, length))

    async def _dsync(self) -> None:
        where = self._random.choice((self._inside, self._behind))
        await self._work.write(self._pick(), where, dsync=True)

    async def _truncate(self) -> None:
        await self._work.truncate(self._pick(), self._new_size)

    def _new_size(self, size: int) -> int:
        """Mostly inside the file or a little beyond it, seldom anything else."""
        way = self._random.randrange(8)
        if way < 3:
            return self._random.randint(0, size)
        if way < 6:
            return min(FILE_MAX, size + self._random.randint(1, 5000))
        return self._random.choice((0, self._random.randint(0, FILE_MAX)))

    async def _migrate(self) -> None:
        unit, width = self._random.choice((4, 16, 64)) * KIB, self._random.randrange(4)
        await self._work.migrate(self._pick(), unit=unit, width=width)

    async def _close(self) -> None:
        if self._work.handles:
            await self._work.close(self._random.choice(list(self._work.handles)))

    # -- promises

    async def _fsync(self) -> None:
        await self._work.sync(self._pick())

    async def _fdatasync(self) -> None:
        await self._work.sync(self._pick(), data_only=True)
