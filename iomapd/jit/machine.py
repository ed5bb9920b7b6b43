# SPDX-License-Identifier: MIT
"""This machine as LLVM sees it: its processor, and object code loaded into memory."""

from __future__ import annotations

import functools
from typing import Any, Final

import llvmlite
import llvmlite.binding as llvm

OPTIMISATION: Final = 3


def llvmlite_version() -> str:
    """Return the version of llvmlite, which contains LLVM."""
    return str(llvmlite.__version__)


@functools.cache
def cpu() -> tuple[str, str]:
    """Return ``(name, features)`` of the processor, in LLVM's spelling."""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def triple() -> str:
    """Return the target triple of this process."""
    return str(llvm.get_process_triple())


@functools.cache
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # Inline assembly (the system call instruction) does not compile without it.
    llvm.initialize_native_asmparser()


def target_machine() -> Any:
    """Return a new LLVM target machine for this processor, fit for code loaded by MCJIT."""
    _initialise()
    name, features = cpu()
    target = llvm.Target.from_triple(triple())
    return target.create_target_machine(
        cpu=name, features=features, opt=OPTIMISATION, codemodel="jitdefault", jit=True
    )


def load_object(data: bytes) -> Any:
    """Load an object file into memory.

    The caller vouches for *data*: LLVM does not survive a damaged file.

    Returns:
        The MCJIT engine that owns the code; the code lives as long as it does.
    """
    machine = target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    return engine
