"""A backup of etcd, on a disk and out of the page cache."""

import json
import os
import subprocess

import measure
from contenders import tls_of
from lib import Etcd


class Backup:
    """One of `values` values under `paths` paths, so most of it is history, and the plain reading of it."""

    LARGEST = 3600  # bytes of a value

    def __init__(self, folder, product, bare, values, paths):
        self.path, self.product, self.paths = os.path.join(folder, "backup.db"), product, paths
        etcd = Etcd(os.path.join(folder, "filled"), quota=8 << 30)
        try:
            etcd.start()
            for what in (["fill", "--count", str(values), "--paths", str(paths), "--size", str(self.LARGEST)],
                         ["snapshot", "--file", self.path]):
                subprocess.run([bare, *what, *tls_of(etcd)], check=True, capture_output=True)
        finally:
            etcd.kill()
            for each in etcd.members:
                each.forget_data()
        self.size = os.path.getsize(self.path)
        self.values = values

    def _cold(self):
        with open(self.path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def plain(self):
        self._cold()
        with open(os.devnull, "wb") as nowhere:
            started = measure.Started(["cat", self.path], stdout=nowhere)
            return started.wait()

    def census(self):
        self._cold()
        cost = measure.run([self.product, "census", "--snapshot", self.path, "-o", "json"])
        told = json.loads(cost.out)
        if told["hash"] != "ok" or told["objects"] + told["historyValues"] != self.values:
            raise RuntimeError(f"not all read: {told}")
        return cost
