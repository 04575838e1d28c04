"""The clients of scripts/demo --ha, and the truth that they leave: what each secret must be, so that it can be counted what
became of them."""

import base64
import collections
import concurrent.futures
import http.client
import itertools
import re
import threading

from lib import ApiError, Background

READERS = 8
DECRYPT = re.compile(r"no matching (key|prefix)|unable to transform|failed to decrypt", re.IGNORECASE)
# What became of a client's write, and of a secret.
READ_BACK, UNREADABLE, OTHER, AWAY = ("written and read back by the next server", "COULD NOT BE DECRYPTED",
                                      "READ BACK WITH ANOTHER VALUE", "without an answer")
AS_WRITTEN, LOST, DIFFERENT, MISSING = "as last written", "LOST", "DIFFERENT", "MISSING"


def counted(counter, *always):
    """"10 as last written, 0 LOST": of `always` even what is 0."""
    return ", ".join(f"{counter[name]:,} {name}" for name in [*always, *sorted(set(counter) - set(always))])


def in_etcd(cluster):
    """{(namespace, name)} of all secrets that are stored, readable or not."""
    return {tuple(key.split("/")[3:5]) for key in cluster.etcd.get_prefix("/registry/secrets/")}


class Truth:
    """What each secret was last known to be."""

    def __init__(self, cluster):
        self._cluster = cluster
        self.written = {}       # (namespace, name): what a client wrote last; None: no answer came, so anything is right
        self.written_by = {}    # by which server
        self.at_first = {}
        for item in cluster.api.list("secrets"):
            self.at_first[item["metadata"]["namespace"], item["metadata"]["name"]] = self._identity(item)

    @staticmethod
    def _identity(item):
        """What no client here changes."""
        return item["metadata"]["uid"], {name: value for name, value in item.get("data", {}).items() if name != "client"}

    def _judge(self, api, key):
        """What a server says of one secret; None: it is not there, and need not be."""
        try:
            item = api.get("secrets", *key)
        except ApiError as error:
            if error.status == 404:
                return MISSING if key in self.at_first or self.written.get(key) else None
            return LOST if DECRYPT.search(str(error)) else f"not known (status {error.status})"
        wanted, found = self.written.get(key), item.get("data", {}).get("client")
        same = wanted in (None, found) and self.at_first.get(key, self._identity(item)) == self._identity(item)
        return AS_WRITTEN if same else DIFFERENT

    def read_all(self, server):
        """{(namespace, name): what it is by this server} of all secrets that are stored, or should be."""
        api, names = server.client(), sorted(in_etcd(self._cluster) | set(self.at_first) | set(self.written))
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            return {key: said for key, said in zip(names, pool.map(lambda key: self._judge(api, key), names)) if said}


class Clients(Background):
    """One for each server, all the time: makes a secret there, changes one of the first, and reads both by the next server."""

    def __init__(self, cluster, truth):
        super().__init__()
        self._servers, self._truth = cluster.servers, truth
        self._old = sorted(truth.at_first)
        self.said = collections.Counter()
        cluster.api.namespace("live")
        self._threads = [threading.Thread(target=self._run, args=(index,), daemon=True)
                         for index in range(len(cluster.servers))]

    def _run(self, index):
        server, reader = self._servers[index], self._servers[(index + 1) % len(self._servers)].client()
        writer = server.client()
        for turn in itertools.count():
            if self._stop.wait(0.3):
                return
            data = {"client": base64.b64encode(f"{index} {turn}".encode()).decode()}
            new = ("live", f"live-{index}-{turn}")
            old = self._old[(turn * len(self._servers) + index) * 7919 % len(self._old)]  # a prime: all over the place
            for key, write, *what in ((new, writer.create, new[0], {"metadata": {"name": new[1]}, "data": data}),
                                      (old, writer.patch, *old, {"data": data})):
                if self._one(key, data["client"], reader, write, *what):
                    self._truth.written_by[key] = server

    def _one(self, key, value, reader, write, *what):
        """Whether it was written."""
        done = False
        try:
            write("secrets", *what)
            done, self._truth.written[key] = True, value
            read = reader.get("secrets", *key)["data"].get("client")
            became = READ_BACK if read == value else OTHER
        except ApiError as error:
            became = UNREADABLE if DECRYPT.search(str(error)) else f"refused with {error.status}"
        except (OSError, http.client.HTTPException):
            became = AWAY
        if not done and became != UNREADABLE:
            self._truth.written[key] = None
        self.said[became] += 1
        return done
