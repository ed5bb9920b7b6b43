# SPDX-License-Identifier: MIT
import pytest

from iomapd.volume.layout_file import load_layout
from tests.faults.patient import copy_volume
from tests.tools import fsck_volume


@pytest.fixture
def private_runtime_dir(tmp_path, monkeypatch):
    """Admin sockets of this test lie apart from those of real mounts."""
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("IOMAPD_RUNTIME_DIR", str(directory))
    return directory


@pytest.fixture(scope="session")
def fsck_template(tmp_path_factory):
    """The directory of a volume for checks; made once, copied for every test."""
    made = fsck_volume.build(tmp_path_factory.mktemp("fsck")).path.parent
    # Elsewhere than the store remembers: a search for lost members must not end here.
    return made.rename(made.with_name("template"))


@pytest.fixture
def layout(fsck_template, tmp_path):
    """A volume of three members with a few files in it, see `fsck_volume.populate`."""
    return load_layout(copy_volume(fsck_template, tmp_path) / "v.toml")
