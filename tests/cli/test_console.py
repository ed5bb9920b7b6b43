# SPDX-License-Identifier: MIT
"""Tables line up, colours and progress appear on terminals alone."""

import signal
import sys

from iomapd.cli import console


def test_words_stand_left_and_numbers_right():
    text = console.table(("NAME", "SIZE"), [("a", 7), ("longer", 123456)], left="NAME")
    assert text.splitlines() == ["NAME      SIZE", "a            7", "longer  123456"]


def test_no_line_ends_in_blanks():
    text = console.table(("SIZE", "NAME"), [(1, "a"), (2, "bcd")], left="NAME")
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_table_without_rows_is_its_head():
    assert console.table(("A", "B"), []) == "A  B"


def test_colour_is_for_terminals_that_want_it(monkeypatch):
    assert console.style("fail", "red") == "fail"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert console.style("fail", "red") != "fail"
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.style("fail", "red") == "fail"


def test_progress_says_nothing_to_a_pipe(capsys):
    with console.progress_bar() as report:
        report("writing", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_what_nohup_ignores_stays_ignored(monkeypatch):
    set_to = {}
    handlers = {signal.SIGHUP: signal.SIG_IGN, signal.SIGTERM: signal.SIG_DFL}
    monkeypatch.setattr(console.signal, "getsignal", handlers.get)
    monkeypatch.setattr(console.signal, "signal", set_to.__setitem__)
    console.end_in_order()
    assert set_to == {signal.SIGTERM: signal.default_int_handler}
