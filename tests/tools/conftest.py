# SPDX-License-Identifier: MIT
import pytest


@pytest.fixture
def private_runtime_dir(tmp_path, monkeypatch):
    """Admin sockets of this test lie apart from those of real mounts."""
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("IOMAPD_RUNTIME_DIR", str(directory))
    return directory
