# SPDX-License-Identifier: MIT
"""BPF instructions by hand, and the kernel's own listing of them."""

import re
import struct

from iomapd.jit.bpf import kernel

EXIT = (0x95, 0, 0, 0, 0)
MOVE_0 = (0xB7, 0, 0, 0, 0)

# Plain, or behind the registers that are alive.
_LISTED = re.compile(r"^ *(\d+): (?:[.0-9]{11} )?(\([0-9a-f]{2}\) .*?) *(?:;.*)?$", re.MULTILINE)


def assemble(*instructions):
    """Assemble (opcode, dst, src, offset, constant)."""
    return b"".join(
        struct.pack("<BBhi", opcode, src << 4 | dst, offset, constant)
        for opcode, dst, src, offset, constant in instructions
    )


def kernel_listing(code):
    """What the verifier writes when it walks through *code*: text by instruction."""
    log = kernel.ctypes.create_string_buffer(1 << 20)
    fd = kernel._load(code, "listed", 2, log)
    text = log.value.decode()
    assert fd >= 0, text
    kernel.os.close(fd)
    return {int(index): words for index, words in _LISTED.findall(text)}
