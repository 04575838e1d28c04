"""A small client of the Kubernetes API over http.client."""

import json
import ssl
import urllib.parse

from .lines import Lines

# The core group is written alone ("secrets"); others as "apps/v1/deployments".
_CLUSTER_SCOPED = {"namespaces", "nodes"}


def path_of(resource, namespace=None, name=None, query=""):
    """The URL path of a resource: "secrets" or "group/version/plural"."""
    *group, plural = resource.split("/")
    path = "/apis/" + "/".join(group) if group else "/api/v1"
    if namespace and plural not in _CLUSTER_SCOPED:
        path += f"/namespaces/{namespace}"
    path += f"/{plural}"
    if name:
        path += "/" + urllib.parse.quote(name)
    return path + (f"?{query}" if query else "")


class ApiError(Exception):
    """An answer of 400 and above, with what the server said."""

    def __init__(self, method, path, response):
        self.status, self.body = response.status, response.body
        super().__init__(f"{method} {path}: {response.status} "
                         f"{response.body[:400].decode('utf-8', 'replace')}")


class Gone(ApiError):
    """404, so that a test can say which error it expects."""


class Response:
    """Status, headers (lower-case names) and the whole body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class ApiClient:
    """Talks to one API server as one user; usable from threads."""

    def __init__(self, url, ca, cert=None, key=None, token=None, timeout=30):
        self.url = url
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert, key)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._lines = Lines(url, context, timeout)

    def close(self):
        """Closes this thread's connection."""
        self._lines.close()

    def request(self, method, path, body=None, headers=None):
        """One request, any answer. `body` is bytes, or anything JSON."""
        sent = dict(self._headers)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        answer, data = self._lines.request(method, path, body, sent, again=method == "GET")
        return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, data)

    def call(self, method, path, body=None, headers=None):
        """One request whose answer must be a success."""
        response = self.request(method, path, body, headers)
        if response.status == 404:
            raise Gone(method, path, response)
        if response.status >= 400:
            raise ApiError(method, path, response)
        return response

    def get(self, resource, namespace=None, name=None, query=""):
        """One object. Without resourceVersion, so it is read from etcd."""
        return self.call("GET", path_of(resource, namespace, name, query)).json()

    def list(self, resource, namespace=None, query="", page=500):
        """All objects of a resource, page by page."""
        found, token = [], ""
        while True:
            parameters = f"limit={page}" + (f"&{query}" if query else "")
            if token:
                parameters += "&continue=" + urllib.parse.quote(token)
            answer = self.call("GET", path_of(resource, namespace, query=parameters)).json()
            found += answer["items"]
            token = answer["metadata"].get("continue")
            if not token:
                return found

    def create(self, resource, namespace, item):
        return self.call("POST", path_of(resource, namespace), item).json()

    def update(self, resource, item):
        meta = item["metadata"]
        return self.call("PUT", path_of(resource, meta.get("namespace"), meta["name"]), item).json()

    def patch(self, resource, namespace, name, change):
        return self.call("PATCH", path_of(resource, namespace, name), json.dumps(change).encode(),
                         {"Content-Type": "application/merge-patch+json"}).json()

    def delete(self, resource, namespace, name):
        return self.call("DELETE", path_of(resource, namespace, name)).json()

    def namespace(self, name):
        """Makes a namespace unless it is there."""
        response = self.request("POST", path_of("namespaces"), {"metadata": {"name": name}})
        if response.status not in (201, 409):
            raise ApiError("POST", "namespaces", response)
