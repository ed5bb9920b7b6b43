# SPDX-License-Identifier: MIT
"""Floor 9: pyfuse3 handlers; turns errors into errnos, in one place."""
