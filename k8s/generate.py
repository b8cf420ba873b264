"""Write the files of k8s/ that are made from others: collector files, the operator's collector, the chart's copies.

Kustomize reads no file outside a build's own folder, so the collector's files are copied, and `make check` compares them.
`python k8s/generate.py` writes; with `--check` it only tells what is out of date, and ends with 1.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
COLLECTOR = ROOT / "collector-config"
K8S = ROOT / "k8s"
CHART = K8S / "chart" / "otelprobe"
ALERTS = ROOT / "dashboards" / "alerts" / "kubernetes" / "prometheusrule.yaml"

_OPERATOR = """\
# The gateway for the OpenTelemetry Operator. Made from collector-config/gateway.yaml by k8s/generate.py: change it there.
"""


class _Dumper(yaml.SafeDumper):
    """Writes mappings in their order and repeats instead of pointing back."""

    def ignore_aliases(self, data: object) -> bool:
        """Write every value where it stands."""
        del data
        return True


def operator_collector() -> str:
    """Give the OpenTelemetryCollector that stands for components/gateway."""
    config = yaml.safe_load((COLLECTOR / "gateway.yaml").read_text(encoding="utf-8"))
    stateful = _first(K8S / "components" / "gateway" / "statefulset.yaml", "StatefulSet")
    pod = stateful["spec"]["template"]["spec"]
    container = pod["containers"][0]
    document = {
        "apiVersion": "opentelemetry.io/v1beta1",
        "kind": "OpenTelemetryCollector",
        "metadata": {"name": "otelprobe-gateway"},
        "spec": {
            "mode": "statefulset",
            "replicas": stateful["spec"]["replicas"],
            "image": container["image"],
            "env": container["env"],
            "resources": container["resources"],
            "podSecurityContext": pod["securityContext"],
            "securityContext": container["securityContext"],
            "volumeMounts": [mount for mount in container["volumeMounts"] if mount["name"] == "queue"],
            "volumeClaimTemplates": stateful["spec"]["volumeClaimTemplates"],
            "config": config,
        },
    }
    return _OPERATOR + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


def _first(file: Path, kind: str) -> dict[str, dict[str, dict[str, dict[str, list[dict[str, list[dict[str, str]]]]]]]]:
    documents = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    return next(document for document in documents if document["kind"] == kind)


def files() -> Iterator[tuple[Path, str]]:
    """Give every file that is made, with what it has to hold."""
    gateway = (COLLECTOR / "gateway.yaml").read_text(encoding="utf-8")
    sidecar = (COLLECTOR / "sidecar.yaml").read_text(encoding="utf-8")
    yield K8S / "components" / "gateway" / "gateway.yaml", gateway
    yield K8S / "overlays" / "cronjob" / "sidecar.yaml", sidecar
    yield K8S / "overlays" / "operator" / "collector.yaml", operator_collector()
    for name in ("prometheus.yml", "loki.yaml"):
        yield K8S / "stores" / "files" / name, (COLLECTOR / name).read_text(encoding="utf-8")
    yield CHART / "files" / "gateway.yaml", gateway
    yield CHART / "files" / "sidecar.yaml", sidecar
    yield CHART / "files" / "flows.yaml", (K8S / "base" / "flows.yaml").read_text(encoding="utf-8")
    if ALERTS.exists():
        yield K8S / "overlays" / "operator" / "prometheusrule.yaml", ALERTS.read_text(encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write what differs, or tell of it."""
    stale = [(path, text) for path, text in files() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path, _ in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date: run `make docs`\n")
        return 1 if stale else 0
    for path, text in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
