# SPDX-License-Identifier: MIT
"""What a layout file may say: its tables, their keys, and one sentence per rule.

The sentences are what a user reads; pydantic's own are turned into such
sentences by `broken_rule`.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from iomapd.abi.units import BLOCK
from iomapd.geometry.sizes import format_size, read_size
from iomapd.volume.superblock import NR_MEMBERS_MAX

UNIT_MAX: Final = 1 << 30
NR_PARAMS_MAX: Final = 8
STORE_URL: Final = "sqlite:///"

IoMode = Literal["auto", "mapped", "buffered", "direct"]

NAME_RULE: Final = "a name has 1 to 64 letters, digits, '.', '_' or '-' and begins with none of .-"
UNIT_RULE: Final = (
    f"the stripe unit is a multiple of {format_size(BLOCK)}, "
    f"from {format_size(BLOCK)} to {format_size(UNIT_MAX)}"
)
STORE_RULE: Final = f"the metadata store is a path or {STORE_URL}PATH"
PARAM_NAME_RULE: Final = "a parameter's name is that of a Python variable"
PARAM_RULE: Final = "a parameter is an integer from -2^63 to 2^63 - 1"
PATH_RULE: Final = "a path is a string of at least one character and without NUL"
SIZE_RULE: Final = "an image file has at least one byte"

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)

# What pydantic calls a wrong type, and what is said of it.
_TYPES: Final = {
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "list_type": "must be a list of tables, [[member]]",
    "dict_type": "must be a table",
    "model_type": "must be a table",
}


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(NAME_RULE)
    return text


def _unit(nbytes: int) -> int:
    if not BLOCK <= nbytes <= UNIT_MAX or nbytes % BLOCK:
        raise ValueError(UNIT_RULE)
    return nbytes


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(PATH_RULE)
    return text


def _store(text: str) -> str:
    path = text.removeprefix(STORE_URL)
    if not path or "\0" in path or "://" in path:
        raise ValueError(STORE_RULE)
    return path


def _some(nbytes: int) -> int:
    if nbytes == 0:
        raise ValueError(SIZE_RULE)
    return nbytes


def _param_name(text: str) -> str:
    if not text.isidentifier():
        raise ValueError(PARAM_NAME_RULE)
    return text


def _param(value: object) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(PARAM_RULE)
    return value


Size = Annotated[int, BeforeValidator(read_size)]
Unit = Annotated[Size, AfterValidator(_unit)]
ImageSize = Annotated[Size, AfterValidator(_some)]
PathText = Annotated[str, AfterValidator(_path)]
Params = dict[Annotated[str, AfterValidator(_param_name)], Annotated[int, BeforeValidator(_param)]]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class VolumeTable(_Table):
    """``[volume]``: what the volume is; after create, the store has the last word."""

    name: Annotated[str, AfterValidator(_name)]
    unit: Unit
    program: PathText = "raid0"
    metadata: Annotated[str, AfterValidator(_store)] | None = None
    params: Params = Field(default_factory=dict, max_length=NR_PARAMS_MAX)


class IoTable(_Table):
    """``[io]``: how members are accessed; may change from mount to mount."""

    mode: IoMode = "auto"


class MemberTable(_Table):
    """``[[member]]``: where a member is, and how an image file is made."""

    path: PathText
    size: ImageSize | None = None
    sparse: bool = False

    @model_validator(mode="after")
    def _sparse_needs_a_size(self) -> Self:
        if self.sparse and self.size is None:
            raise ValueError("sparse = true is about an image file that is made: give its size")
        return self


class LayoutTables(_Table):
    """A whole layout file."""

    volume: VolumeTable
    io: IoTable = IoTable()
    member: list[MemberTable] = Field(min_length=1, max_length=NR_MEMBERS_MAX)


_KEYS: Final[dict[tuple[str, ...], type[_Table]]] = {
    (): LayoutTables,
    ("volume",): VolumeTable,
    ("io",): IoTable,
    ("member",): MemberTable,
}


def broken_rule(error: Any) -> str:
    """Say in one sentence which rule a value breaks.

    Args:
        error: one element of ``ValidationError.errors()``.
    """
    kind = error["type"]
    if kind == "extra_forbidden":
        table = tuple(part for part in error["loc"][:-1] if isinstance(part, str))
        return f"unknown key; known here: {', '.join(_KEYS[table].model_fields)}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "literal_error":
        return f"must be one of {', '.join(get_args(IoMode))}"
    if kind in ("too_short", "too_long"):
        return _count_rule(error["loc"])
    return _TYPES.get(kind, str(error["msg"]))


def shown(value: object) -> str:
    """Write a value for a message: as TOML would, and not longer than a line bears."""
    if isinstance(value, dict | list):
        return "[...]" if isinstance(value, list) else "{...}"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 64 else f"{text[:60]}..."


def _count_rule(loc: tuple[str | int, ...]) -> str:
    if loc == ("member",):
        return f"a volume has 1 to {NR_MEMBERS_MAX} members"
    return f"a program takes at most {NR_PARAMS_MAX} parameters"
