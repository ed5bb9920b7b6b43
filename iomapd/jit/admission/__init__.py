# SPDX-License-Identifier: MIT
"""Admission of mapping programs: text from a user becomes code that may run.

text -> source.py -> parse.py -> bounded.py -> lower.py, compile.py -> agree.py -> prove.py
characters   whitelist   step bound    x86 object              oracle      bijection
"""
