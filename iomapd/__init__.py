# SPDX-License-Identifier: MIT
"""iomapd: striped storage from user space whose mapping is a program."""

__version__ = "0.1.0"
