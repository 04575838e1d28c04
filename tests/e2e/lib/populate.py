"""Objects of many shapes, many objects of one shape, and their fingerprints."""

import base64
import concurrent.futures
import hashlib
import json
import os

import nevers

from .apiclient import ApiError, Gone, path_of

# In every value: a test that looks for leaked values greps for this.
PLANTED = "planted-value-7c2f"
# Namespaces of clients that go on meanwhile, who look at what they wrote themselves.
OTHERS = "patient-"
THREADS = 16


def _data(**values):
    return {name.replace("_", "."): base64.b64encode(
        value if isinstance(value, bytes) else f"{PLANTED} {value}".encode()).decode()
        for name, value in values.items()}


def _secret(name, data, **more):
    kind = more.pop("type", "Opaque")
    top = {k: more.pop(k) for k in ("immutable", "stringData") if k in more}
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name, **more},
            "type": kind, "data": data, **top}


def _configmap(name, data, **more):
    top = {k: more.pop(k) for k in ("immutable", "binaryData") if k in more}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, **more},
            "data": data, **top}


def shapes(big=True):
    """[(resource, object)] of all the shapes that a rewrite must not change."""
    binary = bytes(range(256)) * 4
    owner = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
              "uid": "11111111-2222-3333-4444-555555555555", "controller": True,
              "blockOwnerDeletion": False}]
    found = [
        ("secrets", _secret("plain", _data(password="hunter2"))),
        ("secrets", _secret("empty", {})),
        ("secrets", _secret("labelled", _data(a="1", b="2"),
                            labels={"app": "web", "kube-rekey.dev/tier": "db", "empty": ""},
                            annotations={"note": "with \"quotes\", ünïcode and\nlines",
                                         "long": "x" * 10000})),
        ("secrets", _secret("finalized", _data(a="1"), finalizers=["example.com/keep"])),
        ("secrets", _secret("owned", _data(a="1"), ownerReferences=owner)),
        ("secrets", _secret("frozen", _data(a="1"), immutable=True)),
        ("secrets", _secret("token", _data(token="eyJhbGciOi", namespace="default"),
                            type="kubernetes.io/service-account-token",
                            annotations={"kubernetes.io/service-account.name": "default",
                                         "kubernetes.io/service-account.uid": "1"})),
        ("secrets", _secret("binary", _data(blob=binary, zero=b"", nul=b"\0"))),
        ("secrets", _secret("tls", _data(tls_crt="certificate", tls_key="private key"),
                            type="kubernetes.io/tls")),
        ("secrets", _secret("basic", _data(username="u", password="p"),
                            type="kubernetes.io/basic-auth")),
        ("secrets", _secret("own-type", _data(a="1"), type="example.com/own")),
        ("secrets", _secret("a" * 253, _data(a="1"))),
        ("secrets", _secret("many-keys", _data(**{f"key{i}": str(i) for i in range(500)}))),
        ("configmaps", _configmap("plain", {"setting": f"{PLANTED} on"})),
        ("configmaps", _configmap("empty", {})),
        ("configmaps", _configmap("file", {"nginx.conf": f"# {PLANTED}\nserver {{\n}}\n" * 200},
                                  labels={"app": "web"}, annotations={"note": "text"})),
        ("configmaps", _configmap("frozen", {"a": PLANTED}, immutable=True)),
        ("configmaps", _configmap("binary", {"a": PLANTED}, binaryData={
            "blob": base64.b64encode(binary).decode()})),
    ]
    if big:
        blob = PLANTED.encode() + os.urandom((900 << 10) - len(PLANTED))
        found.append(("secrets", _secret("big", _data(blob=blob))))
        found.append(("configmaps", _configmap("big", {"text": PLANTED + "y" * (900 << 10)})))
    return found


def populate(cluster, namespaces=("default", "team-a", "team-b"), big=True):
    """Puts every shape into every namespace; how many objects were made.

    The 900 KiB ones go into the first namespace only. One secret is made by
    server-side apply and one as kubectl apply does, with the annotation that
    repeats its value.
    """
    api, jobs = cluster.api, []
    for number, namespace in enumerate(namespaces):
        api.namespace(namespace)
        jobs += [(resource, namespace, item) for resource, item in shapes(big and number == 0)]
        applied = _secret("applied", _data(a="1"))
        applied["metadata"]["annotations"] = {
            "kubectl.kubernetes.io/last-applied-configuration": json.dumps(applied)}
        jobs.append(("secrets", namespace, applied))
    _in_threads(lambda job: api.create(*job), jobs)
    for namespace in namespaces:
        item = _secret("server-side", _data(a="1"))
        api.call("PATCH", path_of("secrets", namespace, "server-side", "fieldManager=tester"),
                 json.dumps(item).encode(), {"Content-Type": "application/apply-patch+yaml"})
    return len(jobs) + len(namespaces)


def bulk_secrets(cluster, count, namespaces=20, size=500, prefix="bulk"):
    """Makes `count` secrets of `size` bytes spread over namespaces, quickly."""
    names = [f"{prefix}-{i}" for i in range(namespaces)]
    _in_threads(cluster.api.namespace, names)
    # Values from one random block: making them must not be what takes time.
    block = os.urandom(size + 4096)

    def create(number):
        start = number * 31 % 4096
        value = (PLANTED.encode() + block[start:start + size])[:size]
        cluster.api.create("secrets", names[number % namespaces],
                           _secret(f"{prefix}-{number:06}", _data(value=value)))
    _in_threads(create, range(count))
    return names


def snapshot_hash(api, resources=("secrets", "configmaps"), live=True):
    """{"resource/namespace/name": hash} of all data and metadata.

    Everything but the resourceVersion counts: a rewrite must leave no other
    trace. `live` reads each object by itself, since only that reads etcd; a
    list comes from the server's memory and proves nothing; one that cannot be
    read may never be. What lies in OTHERS' namespaces is left out.
    """
    found = {}

    def one(job):
        resource, item = job
        meta = item["metadata"]
        namespace, name = meta.get("namespace"), meta["name"]
        if live:
            try:
                item = _readable(f"{resource} {namespace}/{name}", api.get, resource, namespace, name)
            except Gone:
                return
        # A list's items leave kind and apiVersion out.
        item = {k: v for k, v in item.items() if k not in ("kind", "apiVersion")}
        item["metadata"] = {k: v for k, v in item["metadata"].items() if k != "resourceVersion"}
        text = json.dumps(item, sort_keys=True).encode()
        found[f"{resource}/{namespace}/{name}"] = hashlib.sha256(text).hexdigest()

    jobs = [(resource, item) for resource in resources for item in _readable(resource, api.list, resource)
            if not item["metadata"].get("namespace", "").startswith(OTHERS)]
    _in_threads(one, jobs)
    return found


def _readable(what, call, *arguments):
    try:
        return call(*arguments)
    except ApiError as error:
        nevers.note(error, what)
        raise


def _in_threads(work, jobs):
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(work, jobs):
            pass
