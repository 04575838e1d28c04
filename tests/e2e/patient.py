"""Clients that outlast API servers that die and an etcd that stops: they try again until it is done, and forgive nothing
but that nobody answered. Every Fleet has them."""

import base64
import collections
import contextlib
import http.client
import itertools
import threading
import time

import nevers
from lib import OTHERS, ApiError, Background, wait_until

# What it may say with 403 or 500 before it is ready, or while etcd is silent.
NOT_READY = ("not yet ready", "etcd", "timeout", "timed out", "context", "connection", "shutting down")
PATIENCE = 90
RESOURCES = ("secrets", "configmaps")
KEPT = 4                # objects of one writer that stay for a while

_runs = itertools.count()


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


class _Ended(Exception):
    """The block ended, and nobody answers."""


class PatientWriters(Background):
    """One for each server: makes, changes and deletes objects through it, and reads each change through the next one. While
    its server or the next one is away it waits.

    Of a write that nobody answered either outcome is right, until the next one is done: whatever else is read was lost, or
    undone."""

    def __init__(self, servers, every):
        """`every`: seconds from one change to the next."""
        super().__init__()
        self.every = every
        self.faults, self.unanswered = [], []
        self.blind, self.held = set(), threading.Event()
        run = next(_runs)
        self._writers = [_Writer(self, f"{OTHERS}{run}-{number}", server, servers[(number + 1) % len(servers)])
                         for number, server in enumerate(servers)]
        self._threads = [threading.Thread(target=each.run, daemon=True) for each in self._writers]

    def ended(self):
        return self._stop.is_set()

    def done(self):
        """Changes that were read back, of each."""
        return [each.done for each in self._writers]

    def go_on(self, more=1):
        """Waits until each has done so much more, where its server and the next one run."""
        for writer, done in zip(self._writers, self.done()):
            wait_until(lambda: writer.done >= done + more or self.faults or not writer.can(), PATIENCE,  # pylint: disable=cell-var-from-loop
                       f"{writer.namespace} goes on, which met {self.unanswered[-1:]}")

    @contextlib.contextmanager
    def reading_alone(self):
        """While a test counts what others change: nobody writes, and all read on what they wrote."""
        self.held.set()
        for writer in self._writers:
            wait_until(lambda: writer.holds or not writer.can(), PATIENCE, f"{writer.namespace} holds")  # pylint: disable=cell-var-from-loop
        yield
        self.held.clear()

    @contextlib.contextmanager
    def blinded(self, *servers):
        """While a test takes keys from these servers' files: that they cannot read what is under them counts as no answer,
        until they run files that somebody gave the keys back to."""
        urls = {server.url for server in servers}
        self.blind |= urls
        yield
        for server in servers:
            wait_until(lambda: server.file_hash() in server.loaded_hashes(), 30, f"{server.name} runs its file")  # pylint: disable=cell-var-from-loop
        time.sleep(1)           # an answer that was under way
        self.blind -= urls


class _Writer:
    """By one server, with a reader by the next one."""

    def __init__(self, all_of_them, namespace, server, reading):
        self.all, self.namespace, self._servers = all_of_them, namespace, (server, reading)
        self.done, self.holds = 0, False
        self.api, self.reader = (each.client(timeout=8) for each in self._servers)

    def can(self):
        """Whether its servers run: otherwise a test has stopped one."""
        return all(server.child and server.child.running() for server in self._servers)

    def run(self):
        kept = collections.deque()
        with contextlib.suppress(_Ended):
            self._make_namespace()
            for turn in itertools.count():
                if self.all.ended():
                    break
                life = _Life(self, turn)
                self._live(life, *(f"{turn} {change}" for change in range(4)))
                kept.append(life)
                if turn % 7:    # most go at once, some after a while
                    self._live(kept.pop(), None)
                elif len(kept) > KEPT:
                    self._live(kept.popleft(), None)
        with contextlib.suppress(_Ended):
            while kept:
                self._live(kept.pop(), None)

    def _make_namespace(self):
        error = self.until_answered(self.api, lambda: self.api.namespace(self.namespace))
        if error:
            self.all.faults.append(str(error))
            raise _Ended

    def _live(self, life, *values):
        try:
            for value in values:
                self._hold(life)
                life.bring_to(value)
                self.done += 1
                if not self.all.ended():
                    time.sleep(self.all.every)
        except (ApiError, AssertionError, OSError) as error:
            nevers.note(error, f"{self.namespace}/{life.name}")
            self.all.faults.append(f"{self.namespace}/{life.name}: {error}")
            time.sleep(0.2)

    def _hold(self, life):
        while self.all.held.is_set() and not self.all.ended():
            self.holds = True
            life.look(self.api)
            life.look(self.reader)
            time.sleep(self.all.every)
        self.holds = False

    def until_answered(self, api, call):
        """What it refused; None: nothing."""
        while True:
            answered, error = self.once(api, call)
            if answered:
                return error
            self.wait()

    def wait(self):
        """Before it is tried again."""
        if self.all.ended():
            raise _Ended
        time.sleep(0.2)

    def once(self, api, call):
        """(whether a server answered, what it refused)."""
        try:
            call()
            return True, None
        except (ApiError, OSError, http.client.HTTPException) as error:
            if not nobody_answered(error) and not (api.url in self.all.blind and nevers.unreadable(error)):
                return True, error
            self.all.unanswered.append(f"{self.namespace}: {error!r}")
            return False, error


class _Life:
    """Of one object."""

    def __init__(self, writer, turn):
        self._writer, self._resource, self.name = writer, RESOURCES[turn % 2], f"patient-{turn}"
        self._possible = {None}     # values that it may have; None: it is not there

    def bring_to(self, value):
        api = self._writer.api
        while True:
            seen = self.look(api)
            if _value(seen) == value:
                break               # a write whose answer was lost
            answered, error = self._writer.once(api, lambda: self._change(seen, value))  # pylint: disable=cell-var-from-loop
            if answered and not error:
                break
            if not answered:
                self._possible.add(value)
                self._writer.wait()
            elif error.status not in (404, 409):  # changed by a rewrite, or by the one before: read again
                raise error
        self._possible = {value}
        self.look(self._writer.reader)

    def _change(self, seen, value):
        api, namespace = self._writer.api, self._writer.namespace
        if value is None:
            api.delete(self._resource, namespace, self.name)
        elif seen is None:
            api.create(self._resource, namespace, {"metadata": {"name": self.name}, "data": _data(value)})
        else:
            api.update(self._resource, {**seen, "data": _data(value)})

    def look(self, api):
        """What it is, as soon as somebody answers."""
        found = []
        error = self._writer.until_answered(api, lambda: found.append(api.get(
            self._resource, self._writer.namespace, self.name)))
        if error and error.status != 404:
            raise error
        seen = found[0] if found else None
        if _value(seen) not in self._possible:
            raise Lost(f"read {_value(seen)!r} through {api.url}, where only {self._possible} was written")
        return seen


def _data(value):
    return {"value": base64.b64encode(value.encode()).decode()}


def _value(seen):
    return seen and base64.b64decode(seen["data"]["value"]).decode()
