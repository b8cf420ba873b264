"""What the collector's k8sattributes asks of a Kubernetes API: lists and watches of a few objects.

No Kubernetes runs here; this stands in for one so that the gateway's file is run unchanged, with one pod of one CronJob.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

NAMESPACE, CRONJOB, JOB = "monitoring", "checks", "checks-29000000"
_CREATED = "2025-02-19T21:20:00Z"
"""The minute that the job's name counts: by that the collector knows a CronJob's job."""

POD, POD_UID = f"{JOB}-abcde", "6f2d3c1e-0000-4000-8000-000000000001"


def _meta(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "resourceVersion": "1", **more}


def _owner(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"apiVersion": "batch/v1", "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}]


_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": _meta(POD, ownerReferences=_owner("Job", JOB), creationTimestamp=_CREATED) | {"uid": POD_UID},
    "spec": {"nodeName": "node-1", "containers": [{"name": "otelprobe", "image": "otelprobe"}]},
    "status": {"podIP": "10.0.0.7", "startTime": "2026-01-01T00:00:00Z", "phase": "Running"},
}
_JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": _meta(JOB, ownerReferences=_owner("CronJob", CRONJOB))}
_OBJECTS = {"pods": [_POD], "jobs": [_JOB]}


class KubernetesApi:
    """An API server on loopback; `kubeconfig` is a file by which it is found."""

    def __init__(self, folder: Path) -> None:
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._ended))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(self._server.server_port)), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """Give what sends the collector here."""
        return {"KUBECONFIG": str(self.kubeconfig), "OTELCOL_K8S_AUTH": "kubeConfig"}

    def stop(self) -> None:
        """End the watches, then the server."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _kubeconfig(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "stack",
        "contexts": [{"name": "stack", "context": {"cluster": "stack", "user": "stack"}}],
        "clusters": [{"name": "stack", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "stack", "user": {}}],
    }


def _handler(ended: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            resource = parts.path.rsplit("/", 1)[-1]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if "watch" in query:
                self._watch(resource, initial="sendInitialEvents" in query)
            else:
                self._write({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"},
                             "items": _OBJECTS.get(resource, [])})  # fmt: skip

        def _watch(self, resource: str, *, initial: bool) -> None:
            if initial:
                for item in _OBJECTS.get(resource, []):
                    self._write({"type": "ADDED", "object": item})
                self._write({"type": "BOOKMARK", "object": _bookmark(resource)})
            ended.wait(60)

        def _write(self, document: dict[str, Any]) -> None:
            self.wfile.write(json.dumps(document).encode() + b"\n")
            self.wfile.flush()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    return Handler


def _bookmark(resource: str) -> dict[str, Any]:
    """Give the object that ends a list sent as a watch."""
    known = {"pods": ("v1", "Pod"), "jobs": ("batch/v1", "Job"), "namespaces": ("v1", "Namespace")}
    version, kind = known.get(resource, ("apps/v1", "ReplicaSet"))
    annotations = {"k8s.io/initial-events-end": "true"}
    return {"apiVersion": version, "kind": kind, "metadata": {"resourceVersion": "1", "annotations": annotations}}
