"""Kills a process of the product right before one of its changes on disk, by a library that it is started with (shim.c).

A change has a position that is the same in the next run: the label, what the process said last over the network, or START;
what it is ("renameat .config.yaml.kube-rekey.tmp > config.yaml"); and the how manieth of that kind since then. A proxy that
sees what the process says tells its DiskKiller before it passes it on: the process waits for the answer meanwhile, so what
is counted from there is exact.
"""

import collections
import contextlib
import os
import re
import subprocess

from .encryption import replace_file
from .parts import ROOT

START = "its start"
_SAID = "> "
_KEY = "(aescbc|aesgcm|secretbox)-[[:alnum:]-]+"      # for regcomp


def shim(library):
    """The library's path; it is built at the first call."""
    if not os.path.exists(library):
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library,
                        os.path.join(ROOT, "tests/e2e/lib/shim.c"), "-ldl"], check=True)
    return library


class DiskKiller:
    """Of one process, and of those that are started in its place."""

    def __init__(self, library, prefix, roots):
        """`prefix`: of the paths of its own files; `roots`: folders where a change is one."""
        self._notes, self._death = prefix + ".changes", prefix + ".death"
        self.under = ["env", f"LD_PRELOAD={shim(library)}", f"KUBE_REKEY_TEST_ROOTS={':'.join(roots)}",
                      f"KUBE_REKEY_TEST_CHANGES={self._notes}", f"KUBE_REKEY_TEST_DEATH={self._death}"]

    def said(self, label):
        """What it says now; it is armed no longer. START: it is about to be started."""
        self.disarm()
        with open(self._notes, "a", encoding="utf-8") as file:
            file.write(f"{_SAID}{label}\n")

    def forget(self):
        """All that was noted."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._notes)

    def changes(self):
        """All that was noted, in order: [(label, what, the how manieth of that kind since then)]."""
        found, label, since = [], None, collections.Counter()
        with open(self._notes, encoding="utf-8") as file:
            for line in file:
                if line.startswith(_SAID):
                    label, since = line[len(_SAID):].rstrip("\n"), collections.Counter()
                else:
                    what = _named(line)
                    since[what] += 1
                    found.append((label, what, since[what]))
        return found

    def arm(self, what, since, stops=False):
        """It dies right before this change from now on, or is stopped there; 1 is the next of its kind."""
        replace_file(self._death, f"{-since if stops else since} ^{what.replace('.', '[.]').replace('KEY', _KEY)}$\n")

    def disarm(self):
        """What it died at meanwhile stays noted."""
        with contextlib.suppress(FileNotFoundError):
            off = self._death + ".off"
            os.rename(self._death, off)
            with open(off, encoding="utf-8") as file:
                died = file.read().startswith("at ")
            if died:
                os.rename(off, self._death)

    def revive(self):
        """What it died at is forgotten: it is about to be started again."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._death)

    def died_at(self):
        """The change right before which it died; None: it did not die by this."""
        try:
            with open(self._death, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            return None
        return _named(text.removeprefix("at ")) if text.startswith("at ") else None


def _named(what):
    return re.sub(_KEY.replace("[:alnum:]", "A-Za-z0-9"), "KEY", what.rstrip("\n"))
