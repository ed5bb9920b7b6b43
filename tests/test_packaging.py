# SPDX-License-Identifier: MIT
"""What a user installs: a wheel, made here or from the sdist, without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow

ASK = """
import iomapd
from iomapd.abi.shipped import shipped_dir
print(iomapd.__file__)
for kind in ("programs", "devices"):
    names = sorted(path.name for path in shipped_dir(kind).iterdir())
    print(shipped_dir(kind), *(name for name in names if name[0] not in "._"))
"""


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(outdir, *arguments):
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", outdir, *arguments, cwd=ROOT)
    return outdir


@pytest.fixture(scope="module")
def from_checkout(tmp_path_factory):
    """The wheel made straight from the checkout."""
    outdir = build(tmp_path_factory.mktemp("checkout"), "--wheel")
    return next(outdir.glob("*.whl"))


@pytest.fixture(scope="module")
def from_sdist(tmp_path_factory):
    """The wheel made from the sdist."""
    outdir = build(tmp_path_factory.mktemp("sdist"))
    assert list(outdir.glob("*.tar.gz"))
    return next(outdir.glob("*.whl"))


@pytest.fixture(params=["from_checkout", "from_sdist"])
def installed(request, tmp_path):
    """A directory with nothing but the installed wheel; dependencies come from this venv."""
    wheel = request.getfixturevalue(request.param)
    site = tmp_path / "site"
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-index", "--no-compile", "--target", site, wheel),
    )
    return site


def ask(site, *command):
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    return run(*command, cwd=site.parent, env=environment)


def test_an_installed_wheel_finds_what_ships_with_it(installed):
    where, *shipped = ask(installed, sys.executable, "-c", ASK).splitlines()
    assert Path(where).is_relative_to(installed)
    for kind, line in zip(("programs", "devices"), shipped, strict=True):
        directory, *names = line.split()
        assert Path(directory) == installed / "iomapd" / "shipped" / kind
        on_top = [path.name for path in (ROOT / kind).iterdir() if path.name[0] not in "._"]
        assert names == sorted(on_top)


def test_the_installed_program_answers(installed):
    assert ask(installed, installed / "bin" / "iomapd", "--version").startswith("iomapd ")
    assert (installed / "bin" / "mount.fuse.iomapd").exists()


def test_both_wheels_hold_the_same_files(from_checkout, from_sdist):
    names = [
        {name for name in zipfile.ZipFile(wheel).namelist() if "RECORD" not in name}
        for wheel in (from_checkout, from_sdist)
    ]
    assert names[0] == names[1]
    assert "iomapd/py.typed" in names[0]
    assert not [name for name in names[0] if name.startswith("tests/")]
