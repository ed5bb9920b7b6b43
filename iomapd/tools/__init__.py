# SPDX-License-Identifier: MIT
"""Floor 11: create, fsck, doctor, bench, demo: return records, report progress to a callable."""
