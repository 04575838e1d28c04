"""What is really in etcd, read over its JSON gateway."""

import base64
import collections
import json
import ssl

from .lines import Lines


class EtcdClient:
    """Reads and changes one etcd through one endpoint; usable from threads."""

    def __init__(self, endpoint, ca=None, cert=None, key=None, timeout=10):
        context = None
        if endpoint.startswith("https:"):
            context = ssl.create_default_context(cafile=ca)
            if cert:
                context.load_cert_chain(cert, key)
        self._lines = Lines(endpoint, context, timeout)

    def call(self, path, body):
        """One POST to the gateway."""
        answer, data = self._lines.request("POST", path, json.dumps(body),
                                           {"Content-Type": "application/json"}, again=True)
        if answer.status != 200:
            raise OSError(f"etcd {path}: {answer.status} {data[:300].decode('utf-8', 'replace')}")
        return json.loads(data)

    def status(self):
        """Version, revision and leader, as this member sees them."""
        return self.call("/v3/maintenance/status", {})

    def revision(self):
        return int(self.call("/v3/kv/range", {"key": _b64("\0"), "count_only": True})
                   ["header"]["revision"])

    def get(self, key, revision=0):
        """(value, mod_revision) of one key, None when it is not there."""
        found = self.call("/v3/kv/range", {"key": _b64(key), "revision": revision}).get("kvs")
        return _value(found[0]) if found else None

    def get_prefix(self, prefix, page=100, revision=0):
        """{key: (value, mod_revision)} of all keys under a prefix, at one revision."""
        found, start, end = {}, prefix.encode(), _prefix_end(prefix.encode())
        while True:
            answer = self.call("/v3/kv/range", {
                "key": _b64(start), "range_end": _b64(end), "limit": page, "revision": revision})
            revision = revision or int(answer["header"]["revision"])
            for pair in answer.get("kvs", ()):
                key = base64.b64decode(pair["key"])
                found[key.decode()] = _value(pair)
                start = key + b"\0"
            if not answer.get("more"):
                return found

    def prefix_counts(self, prefix="/registry/"):
        """{key of the value: how many}, such as "aescbc:key1" or "identity"."""
        return dict(collections.Counter(
            key_of_value(value) for value, _ in self.get_prefix(prefix).values()))

    def put(self, key, value):
        """Writes behind the API server's back: for spoilt and foreign values."""
        return self.call("/v3/kv/put", {"key": _b64(key), "value": _b64(value)})

    def delete(self, key):
        return int(self.call("/v3/kv/deleterange", {"key": _b64(key)}).get("deleted", 0))

    def compact(self, revision):
        return self.call("/v3/kv/compaction", {"revision": revision, "physical": True})

    def snapshot(self):
        """A backup's bytes as `etcdctl snapshot save` writes them: the database and its SHA-256."""
        answer, data = self._lines.request("POST", "/v3/maintenance/snapshot", "{}",
                                           {"Content-Type": "application/json"}, again=True)
        if answer.status != 200:
            raise OSError(f"etcd snapshot: {answer.status} {data[:300].decode('utf-8', 'replace')}")
        return b"".join(base64.b64decode(json.loads(line)["result"].get("blob", ""))
                        for line in data.splitlines() if line)

    def changes(self, revision, prefix="/registry/"):
        """{key: value} of what one revision wrote under a prefix."""
        start = prefix.encode()
        answer = self.call("/v3/kv/range", {
            "key": _b64(start), "range_end": _b64(_prefix_end(start)), "revision": revision,
            "min_mod_revision": revision, "max_mod_revision": revision})
        return {base64.b64decode(pair["key"]).decode(): _value(pair)[0] for pair in answer.get("kvs", ())}

    def members(self):
        return self.call("/v3/cluster/member/list", {})["members"]


def key_of_value(value):
    """Which key a stored value is under, as its prefix says it."""
    if not value.startswith(b"k8s:enc:"):
        return "identity"
    parts = value.split(b":", 5)
    provider, name = parts[2].decode(), parts[4].decode()
    if provider == "kms":
        provider += "-" + parts[3].decode()
    return f"{provider}:{name}"


def _b64(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def _value(pair):
    return base64.b64decode(pair.get("value", "")), int(pair["mod_revision"])


def _prefix_end(prefix):
    return prefix[:-1] + bytes([prefix[-1] + 1])
