"""Kept-alive HTTP connections, one for each thread that asks."""

import http.client
import threading
import urllib.parse


class _ClosedWhenDropped:
    def __del__(self):
        self.close()


class _Plain(_ClosedWhenDropped, http.client.HTTPConnection):
    pass


class _Encrypted(_ClosedWhenDropped, http.client.HTTPSConnection):
    pass


class Lines:
    """Connections to one server; `context` is an SSLContext for https."""

    def __init__(self, url, context, timeout):
        parsed = urllib.parse.urlsplit(url)
        self._host, self._port = parsed.hostname, parsed.port
        self._context, self._timeout = context, timeout
        self._local = threading.local()

    def close(self):
        """Closes this thread's connection."""
        line = getattr(self._local, "line", None)
        if line:
            line.close()
            self._local.line = None

    def _open(self):
        if self._context:
            return _Encrypted(self._host, self._port, timeout=self._timeout, context=self._context)
        return _Plain(self._host, self._port, timeout=self._timeout)

    def request(self, method, path, body, headers, again):
        """One request: (answer, its whole body).

        A kept-alive connection may have been closed meanwhile. Only with
        `again`, for requests that may be done twice, is it then sent on a new
        one: otherwise the outcome is unknown, and that is the caller's matter.
        """
        line = getattr(self._local, "line", None)
        kept = line is not None
        if not kept:
            line = self._local.line = self._open()
        try:
            line.request(method, path, body, headers)
            answer = line.getresponse()
            data = answer.read()
        except TimeoutError:
            self.close()
            raise
        except (OSError, http.client.HTTPException):
            self.close()
            if kept and again:
                return self.request(method, path, body, headers, False)
            raise
        if answer.will_close:
            self.close()
        return answer, data
