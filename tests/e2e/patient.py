"""Clients that outlast API servers that die and an etcd that stops: they try again until it is done, and forgive nothing
but that nobody answered."""

import base64
import http.client
import itertools
import threading
import time

import nevers
from lib import ApiError, Background, wait_until

# What it may say with 403 or 500 before it is ready, or while etcd is silent.
NOT_READY = ("not yet ready", "etcd", "timeout", "timed out", "context", "connection", "shutting down")
PATIENCE = 90


def nobody_answered(error):
    """Whether it says nothing but that: then the write may be done or not."""
    if not isinstance(error, ApiError):
        return True
    if nevers.unreadable(error):
        return False
    said = error.body.decode("utf-8", "replace").lower()
    return error.status in (429, 503, 504) or (error.status in (403, 500) and any(word in said for word in NOT_READY))


class Lost(AssertionError):
    """A value that nobody wrote last."""


class PatientWriters(Background):
    """One for each server: makes, changes and deletes secrets through it, and reads each change through the next one.

    Of a write that nobody answered either outcome is right, until the next one is done: whatever else is read was lost, or
    undone."""

    def __init__(self, servers):
        self.done, self.faults = 0, []
        super().__init__()
        self._server = servers[0]
        self._namespaces = [f"patient-{number}" for number in range(len(servers))]
        for namespace in self._namespaces:
            self._server.admin.namespace(namespace)
        self._threads = [threading.Thread(target=self._run, daemon=True, args=(
            namespace, server.client(timeout=8), servers[(number + 1) % len(servers)].client(timeout=8)))
            for number, (namespace, server) in enumerate(zip(self._namespaces, servers))]

    def __exit__(self, *_):
        super().__exit__(*_)
        for namespace in self._namespaces:
            wait_until(lambda: self._emptied(namespace), PATIENCE, f"{namespace} is empty")  # pylint: disable=cell-var-from-loop

    def _emptied(self, namespace):
        """All of them take longer than a request may, on a busy machine."""
        api = self._server.client()
        try:
            api.call("DELETE", f"/api/v1/namespaces/{namespace}/secrets")
            return not api.list("secrets", namespace)
        except (ApiError, OSError, http.client.HTTPException) as error:
            if not nobody_answered(error):
                raise
            return False

    def _run(self, namespace, api, reader):
        for turn in itertools.count():
            if self._stop.is_set():
                return
            life = _Life(namespace, f"patient-{turn}", api, reader)
            try:
                for value in (*(f"{turn} {change}" for change in range(4)), *([None] if turn % 8 else [])):
                    life.bring_to(value)
                    self.done += 1
                    time.sleep(0.1)
            except (ApiError, AssertionError, OSError) as error:
                nevers.note(error, f"{namespace}/{life.name}")
                self.faults.append(f"{namespace}/{life.name}: {error}")
                time.sleep(0.2)


class _Life:
    """Of one secret."""

    def __init__(self, namespace, name, api, reader):
        self.name, self._namespace, self._api, self._reader = name, namespace, api, reader
        self._possible = {None}     # values that it may have; None: it is not there

    def bring_to(self, value):
        while True:
            seen = self._read(self._api)
            if _value(seen) == value:
                break               # a write whose answer was lost
            answered, error = self._once(lambda: self._change(seen, value))  # pylint: disable=cell-var-from-loop
            if answered and not error:
                break
            if not answered:
                self._possible.add(value)
            elif error.status not in (404, 409):  # changed by a rewrite, or by the one before: read again
                raise error
        self._possible = {value}
        self._read(self._reader)

    def _change(self, seen, value):
        if value is None:
            self._api.delete("secrets", self._namespace, self.name)
        elif seen is None:
            self._api.create("secrets", self._namespace, {"metadata": {"name": self.name}, "data": _data(value)})
        else:
            self._api.update("secrets", {**seen, "data": _data(value)})

    def _read(self, api):
        """Until somebody answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = []
            answered, error = self._once(lambda: found.append(api.get("secrets", self._namespace, self.name)))  # pylint: disable=cell-var-from-loop
            if answered:
                break
            if time.monotonic() > deadline:
                raise error
            time.sleep(0.2)
        if error and error.status != 404:
            raise error
        seen = found[0] if found else None
        if _value(seen) not in self._possible:
            raise Lost(f"read {_value(seen)!r} through {api.url}, where only {self._possible} was written")
        return seen

    @staticmethod
    def _once(call):
        """(whether a server answered, what it refused)."""
        try:
            call()
            return True, None
        except (ApiError, OSError, http.client.HTTPException) as error:
            if nobody_answered(error):
                return False, error
            return True, error


def _data(value):
    return {"value": base64.b64encode(value.encode()).decode()}


def _value(seen):
    return seen and base64.b64decode(seen["data"]["value"]).decode()
