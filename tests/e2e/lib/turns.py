"""Long tests that take turns: scripts/test runs the quarter of them that its seed, which it prints, is for. Alone, and with
KUBE_REKEY_TEST_ALL=1, each test runs."""

import collections
import itertools
import os
import unittest
import zlib

_ALL = bool(os.environ.get("KUBE_REKEY_TEST_ALL"))
_SEED = os.environ.get("KUBE_REKEY_TEST_SEED")


_TURNS = 4
_next = collections.defaultdict(itertools.count)


def turn(test):
    """Decorates a test or a class of them: those of a suite take their turns in the order in which they are in its file, and not
    each suite's first one in the same run."""
    mine = (zlib.crc32(test.__module__.encode()) + next(_next[test.__module__])) % _TURNS
    skipped = not _ALL and bool(_SEED) and int(_SEED) % _TURNS != mine
    return unittest.skipIf(skipped, f"not its turn: KUBE_REKEY_TEST_SEED={mine}, or KUBE_REKEY_TEST_ALL=1")(test)
