# SPDX-License-Identifier: MIT
"""The on-disk schema of the metadata store: the only authority on its tables.

SQLite file format 3, ``application_id`` "iomp", ``user_version`` the schema
version.  Integers are signed 64 bit; byte quantities carry no suffix; times are
nanoseconds since the epoch; names, values and symlink targets are BLOBs, since
the kernel's names are bytes.  Ids (ino, cookie, member, layout, program) are
AUTOINCREMENT or assigned once at create: never reused, so that a late request,
a cached proof or a readdir position can never speak of somebody else's thing.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x696F6D70  # "iomp"
SCHEMA_VERSION: Final = 1
ROOT_INO: Final = 1

TABLES: Final = """
-- One row.  generation: of the last mount that settled; pending: of the mount
-- being entered (equal when settled).  A superblock is current when it carries
-- one of the two: a crash while mounting leaves a mix.
CREATE TABLE volume (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    uuid        BLOB    NOT NULL CHECK (length(uuid) = 16),
    name        TEXT    NOT NULL,
    created_ns  INTEGER NOT NULL,
    block_size  INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    pending     INTEGER NOT NULL,
    root_layout INTEGER NOT NULL REFERENCES layout(id)
);

-- place is the member's index in the layout file; path is a hint for messages,
-- members are found by uuid.
CREATE TABLE member (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    place          INTEGER NOT NULL UNIQUE,
    uuid           BLOB    NOT NULL UNIQUE CHECK (length(uuid) = 16),
    path           TEXT    NOT NULL,
    data_offset    INTEGER NOT NULL,
    data_size      INTEGER NOT NULL,
    logical_sector INTEGER NOT NULL
);

-- Immutable.  The source is stored because a mapping program is part of the
-- on-disk format: mounting compiles this text, never a file of that name.
CREATE TABLE program (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    name   TEXT    NOT NULL,
    abi    INTEGER NOT NULL,
    sha256 TEXT    NOT NULL UNIQUE,
    source TEXT    NOT NULL
);

-- Extents and directories name a row; a change of policy is a new row.  Only its
-- program may change, to one that is proved to map alike.  width 0 = all members.
-- params: 8 little-endian signed 64-bit integers.
CREATE TABLE layout (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    unit      INTEGER NOT NULL,
    width     INTEGER NOT NULL,
    strip_min INTEGER NOT NULL,
    strip_max INTEGER NOT NULL,
    program   INTEGER NOT NULL REFERENCES program(id),
    params    BLOB    NOT NULL CHECK (length(params) = 64),
    copies    INTEGER NOT NULL CHECK (copies = 1),
    flags     INTEGER NOT NULL CHECK (flags = 0),
    UNIQUE (unit, width, strip_min, strip_max, program, params, copies, flags)
);

-- nlink 0 = an orphan: unlinked while in use; swept at mount and unmount.
-- size is the size of the last durability point or of the last truncate down,
-- whichever is lower: never above data that is not durable.
-- layout is inherited by what is made in a directory, and used for a file's
-- next extents.
CREATE TABLE inode (
    ino      INTEGER PRIMARY KEY AUTOINCREMENT,
    mode     INTEGER NOT NULL,
    uid      INTEGER NOT NULL,
    gid      INTEGER NOT NULL,
    nlink    INTEGER NOT NULL CHECK (nlink >= 0),
    rdev     INTEGER NOT NULL,
    size     INTEGER NOT NULL CHECK (size >= 0),
    atime_ns INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    btime_ns INTEGER NOT NULL,
    layout   INTEGER NOT NULL REFERENCES layout(id)
);
CREATE INDEX inode_orphans ON inode (ino) WHERE nlink = 0;

-- cookie is the readdir position of the name.  A rename makes a new row, hence
-- a new cookie: a listing under way may show a renamed file once more under
-- its new name, but never skips one that stayed.
CREATE TABLE dirent (
    cookie INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER NOT NULL,
    name   BLOB    NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    ino    INTEGER NOT NULL
);
CREATE UNIQUE INDEX dirent_name ON dirent (parent, name);
CREATE INDEX dirent_order ON dirent (parent, cookie);
CREATE INDEX dirent_target ON dirent (ino);

-- inode.size equals length(target).
CREATE TABLE symlink (
    ino    INTEGER PRIMARY KEY,
    target BLOB NOT NULL CHECK (length(target) BETWEEN 1 AND 4095)
);

CREATE TABLE xattr (
    ino   INTEGER NOT NULL,
    name  BLOB    NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    value BLOB    NOT NULL CHECK (length(value) <= 65536),
    PRIMARY KEY (ino, name)
) WITHOUT ROWID;

-- Geometry only; what is written stands in content.  unit and the program come
-- from the layout row.  strips: (member id, addr) pairs, little-endian signed
-- 64 bit, in strip order.  checksum is reserved: NULL until a format uses it.
-- Free space is the complement of these rows; nothing else records it.
CREATE TABLE extent (
    ino          INTEGER NOT NULL,
    start        INTEGER NOT NULL,
    length       INTEGER NOT NULL,
    layout       INTEGER NOT NULL REFERENCES layout(id),
    seed         INTEGER NOT NULL,
    strip_length INTEGER NOT NULL,
    strip_alloc  INTEGER NOT NULL,
    speculative  INTEGER NOT NULL,
    strips       BLOB    NOT NULL CHECK (length(strips) % 16 = 0 AND length(strips) > 0),
    checksum     BLOB,
    PRIMARY KEY (ino, start)
) WITHOUT ROWID;
CREATE INDEX extent_speculative ON extent (ino) WHERE speculative = 1;

-- Written 4 KiB blocks, merged; outside these ranges a file reads as zeros.
-- Only durability points add rows here, after the data is flushed.
CREATE TABLE content (
    ino    INTEGER NOT NULL,
    start  INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (ino, start)
) WITHOUT ROWID;
"""
