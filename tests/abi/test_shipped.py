# SPDX-License-Identifier: MIT
"""Shipped files are found in a checkout and inside an installed package."""

import pytest

from iomapd.abi import shipped


@pytest.mark.parametrize("kind", ["programs", "devices"])
def test_a_checkout_keeps_them_beside_the_package(kind):
    assert shipped.shipped_dir(kind) == shipped.PACKAGE.parent / kind


def test_an_installed_package_prefers_its_own_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "iomapd")
    (tmp_path / "programs").mkdir()  # somebody else's, beside us in site-packages
    inside = tmp_path / "iomapd" / "shipped" / "programs"
    inside.mkdir(parents=True)
    assert shipped.shipped_dir("programs") == inside


def test_a_broken_installation_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "iomapd")
    with pytest.raises(FileNotFoundError, match="reinstall iomapd"):
        shipped.shipped_dir("devices")
