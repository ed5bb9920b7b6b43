# SPDX-License-Identifier: MIT
"""The text of a program before it is parsed: size, characters, nesting.

Python's own parser is written for text that somebody means; on text that somebody means ill it
has run out of stack and time.  So the tokens are looked at first, by a tokenizer that is plain
Python, and what would be too deep or too long never gets to the parser.
"""

from __future__ import annotations

import io
import tokenize
import unicodedata
from typing import TYPE_CHECKING, Final

from iomapd.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE_MAX: Final = 64 << 10
"""Largest program, bytes of UTF-8."""

BRACKETS_MAX: Final = 16
"""Deepest nesting of brackets."""

INDENTS_MAX: Final = 16
"""Deepest nesting of blocks."""

TOKENS_MAX: Final = 400
"""Most words and signs in one statement."""

DIGITS_MAX: Final = 72
"""Longest number as written: 64 binary digits, a prefix, a few separators."""

_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
_NO_TOKENS: Final = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)


def refusal(file: str, line: int, sentence: str) -> ProgramError:
    """Make the one-line error of a refused program."""
    return ProgramError(f"{file}:{line}: {sentence}")


def check_source(text: str, file: str) -> None:
    """Check the text of a program before it may be parsed.

    Raises:
        ProgramError: it is too large, too deep, too long, or has characters that hide
            what it says.
    """
    _check_characters(text, file)
    depth = tokens = indents = 0
    for token in _tokens(text, file):
        line = token.start[0]
        depth += (token.string in _OPENING) - (token.string in _CLOSING)
        indents += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        tokens = 0 if token.type == tokenize.NEWLINE else tokens + (token.type not in _NO_TOKENS)
        if depth > BRACKETS_MAX:
            raise refusal(file, line, f"brackets are nested deeper than {BRACKETS_MAX}")
        if indents > INDENTS_MAX:
            raise refusal(file, line, f"blocks are nested deeper than {INDENTS_MAX}")
        if tokens > TOKENS_MAX:
            raise refusal(file, line, f"a statement has more than {TOKENS_MAX} words and signs")
        _check_token(token, file)


def _check_token(token: tokenize.TokenInfo, file: str) -> None:
    line, text = token.start[0], token.string
    if token.type == tokenize.NUMBER and len(text) > DIGITS_MAX:
        raise refusal(file, line, f"a number has {len(text)} digits; none needs more than 64")
    if token.type == tokenize.NAME and not text.isascii():
        # Python reads them in normal form: other letters, the same name.
        raise refusal(file, line, f"name {text!a} is not plain ASCII; names are")
    if token.type in (tokenize.OP, tokenize.ERRORTOKEN) and not text.isascii():
        raise refusal(file, line, f"character {text!a} stands outside comments and docstrings")


def _check_characters(text: str, file: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise refusal(file, line, "a character is half a pair; programs are UTF-8") from None
    if size > SOURCE_MAX:
        raise refusal(file, 1, f"it has {size} bytes; a program has at most {SOURCE_MAX}")
    for number, content in enumerate(text.split("\n"), 1):
        for character in content.removesuffix("\r"):
            # Control characters hide text from terminals, directional ones reorder it.
            if character != "\t" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
                raise refusal(file, number, f"character U+{ord(character):04X} is not allowed")


def _tokens(text: str, file: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(text).readline)
    except tokenize.TokenError as error:
        what, (line, _) = error.args
        raise refusal(file, line, f"not Python: {what}") from None
    except SyntaxError as error:  # IndentationError among them
        raise refusal(file, error.lineno or 1, f"not Python: {error.msg}") from None
