# SPDX-License-Identifier: MIT
"""Programs that must not pass, each with the stage that refuses it and the words.

One module per kind of malice; `CASES` has them all.  They are data: the tests hand their text
to admission, and nothing here is ever imported as a program.
"""

from tests.programs.hostile.case import Case
from tests.programs.hostile.maps import MAPS
from tests.programs.hostile.names import NAMES
from tests.programs.hostile.numbers import NUMBERS
from tests.programs.hostile.paths import PATHS
from tests.programs.hostile.sizes import SIZES
from tests.programs.hostile.syntax import SYNTAX
from tests.programs.hostile.texts import TEXTS

CASES: list[Case] = [*TEXTS, *SYNTAX, *NAMES, *NUMBERS, *PATHS, *SIZES, *MAPS]

__all__ = ["CASES", "Case"]
