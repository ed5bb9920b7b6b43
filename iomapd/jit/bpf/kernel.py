# SPDX-License-Identifier: MIT
"""bpf(2): load a program, read what the verifier says of it, run it, let it go.

    union bpf_attr, BPF_PROG_LOAD                   union bpf_attr, BPF_PROG_TEST_RUN
      OFFSET  SIZE  FIELD                             OFFSET  SIZE  FIELD
           0     4  prog_type                              0     4  prog_fd
           4     4  insn_cnt                               4     4  retval              OUT
           8     8  insns                                  8    24  data in and out
          16     8  license                               32     4  repeat
          24     4  log_level                             36     4  duration            OUT
          28     4  log_size                              40     4  ctx_size_in
          32     8  log_buf                               44     4  ctx_size_out
          40     4  kern_version                          48     8  ctx_in              IN, OUT
          44     4  prog_flags                            56     8  ctx_out
          48    16  prog_name                             64     4  flags

For programs of type SYSCALL the kernel writes the record back to ctx_in and refuses ctx_out,
repeat and duration (net/bpf/test_run.c: bpf_prog_test_run_syscall, since Linux 5.14).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import struct
from dataclasses import dataclass
from typing import Final

from iomapd.abi.program import CTX_SIZE
from iomapd.errors import IomapdError

_NUMBERS: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_PROG_LOAD: Final = 5
_PROG_TEST_RUN: Final = 10
_TYPE_SYSCALL: Final = 31
_SLEEPABLE: Final = 1 << 4  # the only kind of syscall program that there is
_LOG_PATHS: Final = 1  # every instruction of every path
_LOG_STATS: Final = 4  # only the sum at the end

_LOAD: Final = struct.Struct("<IIQQIIQII16s")
_RUN: Final = struct.Struct("<II24xIIIIQQI4x")

# From Linux 6.4 on the kernel keeps the end of a log that is too long, which is what matters.
_LOG_SIZE: Final = 1 << 20

_NOTHING: Final = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit

_PROCESSED: Final = re.compile(r"processed (\d+) insns")
_STACK: Final = re.compile(r"stack depth ([\d+]+)")
_TIME: Final = re.compile(r"verification time (\d+) usec")


class VerifierError(IomapdError):
    """The kernel does not take a program.

    Attributes:
        number: errno.
        log: what the verifier wrote, or the end of it.
    """

    def __init__(self, number: int, log: str) -> None:
        super().__init__(os.strerror(number))
        self.number = number
        self.log = log


@dataclass(frozen=True, slots=True)
class Verified:
    """What the verifier measured.

    Attributes:
        processed: instructions it walked through, on all paths.
        stack: bytes of stack the program uses.
        microseconds: time it took.
    """

    processed: int
    stack: int
    microseconds: int


class KernelProgram:
    """A program that the running kernel has accepted; close it, or use it in ``with``.

    Args:
        code: BPF instructions, 8 bytes each.
        name: up to 15 letters, digits, underscores and dots.

    Attributes:
        verified: what the verifier measured.

    Raises:
        VerifierError: the kernel refuses.
    """

    def __init__(self, code: bytes, name: str) -> None:
        log = ctypes.create_string_buffer(_LOG_SIZE)
        self.fd = _load(code, name, _LOG_STATS, log)
        if self.fd < 0:
            number = ctypes.get_errno()
            # Once more, for the whole story; now it is worth its time.
            self.fd = _load(code, name, _LOG_PATHS | _LOG_STATS, log)
            if self.fd < 0:
                raise VerifierError(number, log.value.decode(errors="replace"))
        self.verified = _figures(log.value.decode(errors="replace"))

    def run(self, record: ctypes.Array[ctypes.c_int64]) -> int:
        """Run it once over *record*, which it changes; what it returned, 32 bits.

        Raises:
            OSError: the kernel does not run it.
        """
        size = ctypes.sizeof(record)
        attributes = ctypes.create_string_buffer(
            _RUN.pack(self.fd, 0, 0, 0, size, 0, ctypes.addressof(record), 0, 0), _RUN.size
        )
        if _bpf(_PROG_TEST_RUN, attributes) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"BPF_PROG_TEST_RUN: {os.strerror(number)}")
        return int.from_bytes(attributes.raw[4:8], "little")

    def close(self) -> None:
        """Let the kernel forget it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> KernelProgram:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def why_not() -> str:
    """Say why this process cannot load programs here; empty when it can."""
    if platform.machine() not in _NUMBERS or struct.pack("=H", 1) != b"\x01\x00":
        return f"iomapd does not know bpf(2) on {platform.machine()}"
    log = ctypes.create_string_buffer(1)
    fd = _load(_NOTHING, "iomapd_probe", 0, log)
    if fd >= 0:
        os.close(fd)
        return ""
    number = ctypes.get_errno()
    if number in (errno.EPERM, errno.EACCES):
        return "bpf(2) is not permitted here; it needs CAP_BPF, or root"
    if number == errno.ENOSYS:
        return "this kernel was built without bpf(2)"
    if number == errno.EINVAL:
        return f"Linux {platform.release()} has no BPF programs of type syscall; 5.14 has"
    return f"bpf(2) does not work here: {os.strerror(number)}"


def environment() -> str:
    """Name all that a verdict of the verifier depends on, besides the program."""
    return f"{platform.machine()} {platform.release()} {platform.version()}: {why_not()}"


def _load(code: bytes, name: str, level: int, log: ctypes.Array[ctypes.c_char]) -> int:
    """Load; the file descriptor, or -1 with errno set."""
    instructions = ctypes.create_string_buffer(code, len(code))
    license_text = ctypes.create_string_buffer(b"Dual MIT/GPL")
    log.value = b""
    where = (ctypes.sizeof(log), ctypes.addressof(log)) if level else (0, 0)
    attributes = _LOAD.pack(
        _TYPE_SYSCALL, len(code) // 8, ctypes.addressof(instructions),
        ctypes.addressof(license_text), level, *where, 0, _SLEEPABLE, name.encode()[:15],
    )  # fmt: skip
    return _bpf(_PROG_LOAD, ctypes.create_string_buffer(attributes, len(attributes)))


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    number = _NUMBERS[platform.machine()]
    return int(_libc.syscall(number, command, attributes, len(attributes)))


def _figures(log: str) -> Verified:
    processed, time = _PROCESSED.search(log), _TIME.search(log)
    # "stack depth 16+0" lists functions; iomapd's programs have one.
    depth = _STACK.search(log)
    stack = sum(map(int, depth[1].strip("+").split("+"))) if depth else 0
    return Verified(int(processed[1]) if processed else 0, stack, int(time[1]) if time else 0)


_libc = ctypes.CDLL(None, use_errno=True)
assert _LOAD.size == 64
assert CTX_SIZE % 8 == 0
