# SPDX-License-Identifier: MIT
"""FUSE messages for tests, built with struct from the kernel's header, not from abi/fuse.py."""

import struct


def request(opcode, body=b"", unique=2, nodeid=1):
    return struct.pack("<IIQQIIIHH", 40 + len(body), opcode, unique, nodeid, 0, 0, 0, 0, 0) + body


def reply(unique, body=b"", error=0):
    return struct.pack("<IiQ", 16 + len(body), error, unique) + body


def notification(code, body=b""):
    return reply(0, body, error=code)


def write_in(fh=7, write_flags=0, flags=0, data=b""):
    return struct.pack("<QQIIQII", fh, 4096, len(data), write_flags, 0, flags, 0) + data


def setattr_in(valid, fh=0):
    return struct.pack("<IIQ", valid, 0, fh) + bytes(72)


def open_in(flags, open_flags):
    return struct.pack("<II", flags, open_flags)


def create_in(flags, open_flags):
    return struct.pack("<IIII", flags, 0o644, 0o22, open_flags) + b"name\0"


def open_out(open_flags, fh=9):
    return struct.pack("<QIi", fh, open_flags, 0)


def create_out(open_flags):
    return bytes(range(128)) + open_out(open_flags)
