# SPDX-License-Identifier: MIT
"""A place for object files, and modules of functions made from text."""

import importlib.util

import pytest


@pytest.fixture
def object_dir(tmp_path):
    return tmp_path / "objects"


@pytest.fixture
def module_of(tmp_path):
    """Return a function that makes a module from source text; the same name may come again."""

    def make(source, name="made"):
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        # Two versions within one second have the same time stamp; nothing may be reused.
        exec(compile(source, str(path), "exec"), module.__dict__)
        return module

    return make
