"""95 % intervals."""

from __future__ import annotations

RESAMPLES = 2000
LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
