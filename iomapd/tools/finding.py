# SPDX-License-Identifier: MIT
"""What a look at the machine found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "info", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; *mend* is a shell command or a sentence, empty when all is well.

    "fail" stops mounting, "warn" costs speed or a feature, "ok" and "info" ask for nothing.
    """

    name: str
    status: Status
    found: str
    why: str
    mend: str = ""
