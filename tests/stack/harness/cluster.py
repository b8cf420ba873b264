"""A Kubernetes control plane on loopback: etcd, API server, controllers and scheduler, and nodes that kwok pretends.

No container runs: kwok says of every pod that is bound to a node that it does. What the API server admits, what the
controllers make of it and where the scheduler puts it is real. Behind `logs` and `port-forward` of every container otelprobe
are one file and one port of this machine, where a test may have a process stand for the pod.
"""

import base64
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.stack.harness import cache
from tests.stack.harness.golang import Module, Tools, downloaded
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, eventually, session

_MODULES = cache.REPOSITORY / "tests" / "stack" / "kubernetes"
_VERSION = re.findall(
    r"^require k8s\.io/kubernetes v(\S+)", (_MODULES / "cluster" / "go.mod").read_text(), re.MULTILINE
)[0]
_STAMP = "k8s.io/component-base/version"
CONTROL_PLANE = Tools(
    "kubernetes",
    _MODULES / "cluster",
    tuple(f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")),
    (f"{_STAMP}.gitVersion=v{_VERSION}", f"{_STAMP}.gitMajor=1", f"{_STAMP}.gitMinor={_VERSION.split('.')[1]}"),
)  # fmt: skip
ETCD = Tools("etcd", _MODULES / "etcd", ("go.etcd.io/etcd/server/v3",))
KWOK = Module("kwok", "sigs.k8s.io/kwok", "v0.8.0", ("cmd/kwok",))
HELM = Module("helm", "helm.sh/helm/v4", "v4.2.4", ("cmd/helm",))

_TOKEN = "stack-admin"
_APIS = {
    **dict.fromkeys(("pods", "nodes", "persistentvolumeclaims", "configmaps", "secrets", "namespaces"), "api/v1"),
    **dict.fromkeys(("deployments", "statefulsets"), "apis/apps/v1"),
    **dict.fromkeys(("jobs", "cronjobs"), "apis/batch/v1"),
    "customresourcedefinitions": "apis/apiextensions.k8s.io/v1",
    "externalsecrets": "apis/external-secrets.io/v1",
    "opentelemetrycollectors": "apis/opentelemetry.io/v1beta1",
    "prometheusrules": "apis/monitoring.coreos.com/v1",
}
"""Where the API server has each kind that the tests look at."""

ZONES = ("zone-a", "zone-b")

CRDS: Mapping[str, tuple[str, str, str]] = {
    "PrometheusRule": (
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "ExternalSecret": (
        "github.com/external-secrets/external-secrets",
        "v1.3.2",
        "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    ),
}
"""Definitions as their operators publish them: module, version, file."""


def obtain() -> Path:
    """Build what a cluster needs; give the folder of the control plane."""
    ETCD.obtain()
    KWOK.obtain()
    HELM.obtain()
    return CONTROL_PLANE.obtain()


def kustomized(folder: Path) -> list[dict[str, Any]]:
    """Give the objects that `kubectl kustomize` makes of a folder."""
    done = subprocess.run(
        [str(CONTROL_PLANE.obtain() / "kubectl"), "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def definition(kind: str) -> dict[str, Any]:
    """Give an operator's CustomResourceDefinition."""
    path, version, file = CRDS[kind]
    found: dict[str, Any] = yaml.safe_load((downloaded(path, version) / file).read_text(encoding="utf-8"))
    return found


class Cluster:
    """A running control plane. `kubectl` speaks to it as its administrator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = CONTROL_PLANE.obtain()
        self._processes: list[Process] = []
        self._http = session()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        etcd, peer, self._port, controllers, scheduler, self._kubelet_port, self.pod_port = free_ports(7)
        certificates = self._folder / "certificates"
        self.pod_log = self._folder / "pod.log"
        self._keys()
        self._run(
            "etcd",
            ETCD.obtain() / "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        self._run(
            "kube-apiserver",
            self._programs / "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={certificates}",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={self._folder / 'sa.pub'}",
            f"--service-account-signing-key-file={self._folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--kubelet-preferred-address-types=InternalIP",
        )
        self.kubeconfig = self._folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(self._port)), encoding="utf-8")
        self._processes[-1].wait_until(self._ready, 300)
        self._run(
            "kube-controller-manager",
            self._programs / "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={controllers}",
            f"--cert-dir={certificates}",
            f"--service-account-private-key-file={self._folder / 'sa.key'}",
            f"--root-ca-file={certificates / 'apiserver.crt'}",
            "--node-monitor-grace-period=30m",  # no node is lost because this machine is busy
        )
        self._run(
            "kube-scheduler",
            self._programs / "kube-scheduler",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={scheduler}",
            f"--cert-dir={certificates}",
        )
        self._run(
            "kwok",
            KWOK.obtain() / "kwok",
            *(f"--config={file}" for file in (*_stages(), self._kubelet())),
            f"--kubeconfig={self.kubeconfig}",
            "--manage-all-nodes=true",
            "--cidr=10.1.0.0/16",
            "--node-ip=127.0.0.1",
            f"--node-port={self._kubelet_port}",
            f"--server-address=127.0.0.1:{self._kubelet_port}",
            f"--tls-cert-file={certificates / 'apiserver.crt'}",
            f"--tls-private-key-file={certificates / 'apiserver.key'}",
        )

    def _kubelet(self) -> Path:
        """Write what kwok answers in the place of a kubelet that is asked for logs or a port."""
        file = self._folder / "kubelet.yaml"
        kind = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "metadata": {"name": "otelprobe"}}
        target = {"address": "127.0.0.1", "port": self.pod_port}
        logs = {"containers": ["otelprobe"], "logsFile": str(self.pod_log), "follow": False}
        documents = [
            {**kind, "kind": "ClusterLogs", "spec": {"logs": [logs]}},
            {**kind, "kind": "ClusterPortForward", "spec": {"forwards": [{"ports": [8399], "target": target}]}},
        ]
        file.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        return file

    def _run(self, name: str, *command: str | Path) -> None:
        environment = {"KUBECONFIG": str(self._folder / "kubeconfig"), "HOME": str(self._folder)}
        self._processes.append(Process(name, command, log=self._folder / f"{name}.log", environment=environment))

    def _keys(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = serialization.Encoding.PEM
        (self._folder / "sa.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        )
        (self._folder / "sa.pub").write_bytes(
            key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        (self._folder / "tokens.csv").write_text(f"{_TOKEN},admin,admin,system:masters\n", encoding="utf-8")

    def _asked(self, path: str, **query: str) -> requests.Response:
        return self._http.get(
            f"https://127.0.0.1:{self._port}/{path}",
            params=query,
            headers={"Authorization": f"Bearer {_TOKEN}"},
            verify=str(self._folder / "certificates" / "apiserver.crt"),
            timeout=30,
        )

    def _ready(self) -> bool:
        try:
            return self._asked("readyz").status_code == 200
        except OSError:
            return False

    def kubectl(self, *words: str, stdin: str | None = None, fails: bool = False) -> str:
        """Run kubectl; give what it printed. AssertionError if it ends otherwise than expected."""
        done = subprocess.run(
            [str(self._programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        told = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, told
        return told

    def apply(self, objects: Sequence[Mapping[str, Any]], *options: str) -> str:
        """Apply objects on the server's side."""
        text = yaml.safe_dump_all(objects)
        return self.kubectl("apply", "--server-side", "--validate=strict", *options, "-f", "-", stdin=text)

    def get(self, kind: str, namespace: str | None = None, **labels: str) -> list[dict[str, Any]]:
        """List objects, those with these labels. A program for each look would cost more than what is waited for."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        answer = self._asked(f"{_APIS[kind]}{scope}/{kind}", labelSelector=selector)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    def nodes(self) -> list[dict[str, Any]]:
        """Give a node for each zone, to apply."""
        return [_node(f"node-{number}", zone, self._kubelet_port) for number, zone in enumerate(ZONES)]

    def define(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Apply objects and wait until the CustomResourceDefinitions among them are served."""
        self.apply(documents)
        names = {d["metadata"]["name"] for d in documents if d["kind"] == "CustomResourceDefinition"}
        self.eventually(lambda: names <= self._established(), "established definitions", 120)

    def _established(self) -> set[str]:
        """Give the definitions that are served."""
        return {
            crd["metadata"]["name"]
            for crd in self.get("customresourcedefinitions")
            for condition in crd.get("status", {}).get("conditions") or ()
            if (condition["type"], condition["status"]) == ("Established", "True")
        }

    def eventually(self, look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """Ask until there is an answer."""
        return eventually(look, seconds, what)

    def stop(self) -> None:
        """End everything, the last first."""
        self._http.close()
        for process in reversed(self._processes):
            process.stop()


def _stages() -> list[Path]:
    """Give what kwok is to do with nodes and pods, as its own release has it."""
    folder = downloaded(KWOK.path, KWOK.version) / "kustomize" / "stage"
    kinds = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
    return sorted(
        file for kind in kinds for file in (folder / kind).glob("*.yaml") if file.name != "kustomization.yaml"
    )


def _kubeconfig(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "stack",
        "contexts": [{"name": "stack", "context": {"cluster": "stack", "user": "admin"}}],
        "clusters": [
            {
                "name": "stack",
                "cluster": {
                    "server": f"https://127.0.0.1:{port}",
                    "certificate-authority": "certificates/apiserver.crt",
                },
            }
        ],
        "users": [{"name": "admin", "user": {"token": _TOKEN}}],
    }


def _node(name: str, zone: str, kubelet: int) -> dict[str, Any]:
    room = {"cpu": "32", "memory": "64Gi", "pods": "200", "ephemeral-storage": "100Gi"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone, "kubernetes.io/hostname": name}},
        "status": {
            "allocatable": room,
            "capacity": room,
            # Both kinds: kwok takes away what is there, when it finds a node again, if it misses one.
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet}},
        },
    }


def volume(name: str, size: str = "4Gi") -> dict[str, Any]:
    """Give a PersistentVolume for whoever claims one."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"/nowhere/{name}"},
        },
    }


def secret(name: str, namespace: str, **values: str) -> dict[str, Any]:
    """Give a Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}
