# SPDX-License-Identifier: MIT
import errno
import logging

import pyfuse3
import pytest

from iomapd.errors import BadMappingError, SpaceError, StoreError
from iomapd.fuse.answers import answers


class Handlers:
    def __init__(self, failure=None):
        self.failure = failure
        self.requests = {}

    @answers
    async def read(self):
        if self.failure is not None:
            raise self.failure
        return b"data"


async def test_an_answer_passes_and_is_counted():
    handlers = Handlers()
    assert await handlers.read() == b"data"
    ((count, spent),) = handlers.requests.values()
    assert count == 1
    assert spent > 0


@pytest.mark.parametrize(
    ("failure", "number"),
    [
        (OSError(errno.ENOENT, "no"), errno.ENOENT),
        (OSError("no errno at all"), errno.EIO),
        (SpaceError("full"), errno.ENOSPC),
        (StoreError("broken"), errno.EIO),
        (BadMappingError("bad"), errno.EIO),
        (pyfuse3.FUSEError(errno.EPERM), errno.EPERM),
        (ZeroDivisionError("a bug"), errno.EIO),
    ],
)
async def test_whatever_a_handler_raises_becomes_an_errno(failure, number):
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Handlers(failure).read()
    assert caught.value.errno == number


async def test_a_bug_leaves_its_traceback_in_the_log(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(pyfuse3.FUSEError):
        await Handlers(ZeroDivisionError("a bug")).read()
    assert "ZeroDivisionError" in caplog.text
