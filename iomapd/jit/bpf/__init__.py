# SPDX-License-Identifier: MIT
"""Mapping programs as BPF: the same code for the kernel, its verifier's opinion, its answers.

    numba's module --> retarget.py --> ELF object --> elf.py --> kernel.py --> verified, run
                       wrapper.py      bpftool too    lines      words.py      timing.py
                                                      disassemble.py

No clang, no libbpf: LLVM is llvmlite's, and bpf(2) is one system call.  docs/design/bpf.md has the
reasons and the traps.
"""
