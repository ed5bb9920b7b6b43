# SPDX-License-Identifier: MIT
"""The record that programs see is part of the on-disk format: its words must never move."""

from iomapd.abi import program


def test_the_words_of_version_1_stay_where_they_are():
    words = "pos count unit nr_strips strip_length seed p0 p1 p2 p3 p4 p5 p6 p7 strip addr length"
    hints = "upsert_pos upsert_length upsert_strip upsert_addr invalidate_pos invalidate_length"
    assert " ".join(program.CTX_WORDS) == f"{words} {hints}"
    assert (program.CTX_FIRST_HINT, program.HINTS_SIZE) == (17 * 8, 6 * 8)
    assert program.END_WORDS[14:] == (*(f"c{n}" for n in range(8)), "written", "opflags", "error")
    assert program.CTX_SIZE == 256


def test_every_word_is_an_input_or_an_output_or_a_hint():
    assert set(program.CTX_WORDS) == program.CTX_IN | program.CTX_OUT | program.CTX_HINTS
    assert not program.CTX_HINTS & (program.CTX_IN | program.CTX_OUT)
    assert set(program.END_WORDS) == program.END_IN | program.END_OUT
    assert not program.CTX_IN & program.CTX_OUT
    assert not program.END_IN & program.END_OUT
