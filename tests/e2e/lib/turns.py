"""Long tests that take turns: of two halves, scripts/test runs the one that its seed, which it prints, is for. Alone, and with
KUBE_REKEY_TEST_ALL=1, each test runs."""

import os
import unittest

_ALL = bool(os.environ.get("KUBE_REKEY_TEST_ALL"))
_SEED = os.environ.get("KUBE_REKEY_TEST_SEED")


def turn(half):
    """Decorates a test or a class of them. `half`: 0 runs with even seeds, 1 with odd ones."""
    skipped = not _ALL and bool(_SEED) and int(_SEED) % 2 != half
    return unittest.skipIf(skipped, f"the other half's turn: KUBE_REKEY_TEST_SEED={half}, or KUBE_REKEY_TEST_ALL=1")
