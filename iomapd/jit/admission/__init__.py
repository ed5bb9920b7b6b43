# SPDX-License-Identifier: MIT
"""Admission of mapping programs: text from a user becomes code that may run.

text -> source.py -> parse.py -> bounded.py -> lower.py, compile.py -> agree.py -> prove.py
characters   whitelist   step bound    x86 object              oracle      bijection

    admit(name, text, file)          the verdict, from a limited child process
    load_program(name, text, file)   code of an accepted program, from the cache if it is there
    Prover().prove(address, extent)  the proof of one extent, made when the extent is made

    parse.parse_program(...)         the program as a tree
    interpret.interpret(...)         what it means, without running any of its text

The last two have modules of their own that a mount, which finds its programs examined, never
imports.
"""

from iomapd.jit.admission.admit import Examination, admit, examine
from iomapd.jit.admission.load import LoadedProgram, load_program, program_key
from iomapd.jit.admission.proving import Geometry, Proof, Prover
from iomapd.jit.admission.verdict import Admission, Stage

__all__ = [
    "Admission",
    "Examination",
    "Geometry",
    "LoadedProgram",
    "Proof",
    "Prover",
    "Stage",
    "admit",
    "examine",
    "load_program",
    "program_key",
]
