"""What is shipped for Kubernetes, read as text: hardened, pinned, and in words that otelprobe knows."""

import argparse
import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelprobe.__main__ import build_parser
from otelprobe.config.load import load
from otelprobe.config.settings import Settings, load_settings
from otelprobe.plan import build

ROOT = Path(__file__).parents[1]
K8S = ROOT / "k8s"
_NO_MANIFESTS = {"gateway.yaml", "flows.yaml", "kustomization.yaml"}
_COLLECTOR = K8S / "overlays" / "cronjob" / "sidecar.yaml"
MANIFESTS = sorted(
    path for path in K8S.rglob("*.yaml")
    if not {"chart", "files"} & set(path.parts) and path.name not in _NO_MANIFESTS and path != _COLLECTOR
)  # fmt: skip
FLOWS = sorted(path for path in K8S.rglob("flows.yaml") if "chart" not in path.parts)
RESTRICTED = {"configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim", "downwardAPI", "name"}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object, with the file that it stands in."""
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield str(path.relative_to(K8S)), document


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template that is written whole; the patches of components add to these."""
    for file, document in documents():
        spec = document.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", {}).get("template") or spec.get("template")
        if isinstance(template, dict) and document["metadata"]["name"] != "any":
            yield file, template["spec"]


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container, those of patches included, but for additions to one that stands elsewhere."""
    for file, document in documents():
        spec = document.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", {}).get("template") or spec.get("template") or {}
        pod = template.get("spec", {}) if isinstance(template, dict) else {}
        for container in itertools.chain(pod.get("initContainers", ()), pod.get("containers", ())):
            if "image" in container:
                yield file, container


PODS = list(pods())
CONTAINERS = list(containers())
PROBERS = [(file, c) for file, c in CONTAINERS if c["image"].startswith("otelprobe:")]


def test_they_are_all_seen() -> None:
    """The tests below look at every workload that is shipped."""
    assert len(PODS) >= 5
    assert len(CONTAINERS) >= 8
    assert len(PROBERS) >= 4


@pytest.mark.parametrize(("file", "container"), CONTAINERS)
def test_a_container_is_hardened(file: str, container: dict[str, Any]) -> None:
    """No privilege, no capability, a read-only root, requests and a memory limit, and no CPU limit, which would be latency."""
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    resources = container["resources"]
    assert {"cpu", "memory"} <= resources["requests"].keys()
    assert "memory" in resources["limits"], file
    assert "cpu" not in resources["limits"]
    assert re.fullmatch(r"[^@]+:v?\d+(\.\d+)+", container["image"]), (
        "an image without a version is another one tomorrow"
    )


@pytest.mark.parametrize(("file", "pod"), PODS)
def test_a_pod_is_hardened(file: str, pod: dict[str, Any]) -> None:
    """A numeric user, the default seccomp profile, no API token unless the collector needs it, volumes of harmless kinds."""
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] >= 10000
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is ("gateway" in file)
    for volume in pod.get("volumes", ()):
        assert volume.keys() <= RESTRICTED
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", ()):
            assert "subPath" not in mount, "what is mounted by subPath never changes"


@pytest.mark.parametrize(("file", "container"), PROBERS)
def test_a_prober_is_started_with_words_that_it_knows(
    file: str, container: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments are parsed by our own command line, and every OTELPROBE_ variable is a setting with a good value."""
    args = build_parser(container["args"][0]).parse_args(container["args"])
    assert isinstance(args, argparse.Namespace), file
    assert args.config == ["/etc/otelprobe/flows"]
    names = {f"OTELPROBE_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    for variable in container["env"]:
        if variable["name"].startswith("OTELPROBE_"):
            assert variable["name"] in names
            monkeypatch.setenv(
                variable["name"], variable["value"].replace("$(SHARD)", "0").replace("$(NODE)", "node-1")
            )
    assert load_settings({}).warnings == ()


@pytest.mark.parametrize(("file", "container"), [(f, c) for f, c in PROBERS if c["args"][0] == "run"])
def test_liveness_depends_on_nobody_else(file: str, container: dict[str, Any]) -> None:
    """A prober is restarted for its own heart only; an outage of a target or of the collector leaves it alone."""
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez", file
    assert "host" not in container["livenessProbe"]["httpGet"]


@pytest.mark.parametrize("path", FLOWS)
def test_the_flows_are_good(path: Path) -> None:
    """What is shipped as an example can be run once its hosts are."""
    assert build(load([path]))


def test_the_stores_are_those_of_compose() -> None:
    """The stores for a first look are the images and command lines that compose.yaml starts, each with every file it mounts."""
    text = (ROOT / "collector-config" / "compose.yaml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    shipped = {c["name"]: c for file, c in CONTAINERS if file.startswith("stores/")}
    assert shipped.keys() == services.keys() - {"demo", "collector"}
    for name, container in shipped.items():
        assert container["image"] == services[name]["image"]
        assert container.get("args", []) == services[name].get("command", [])
    generators = yaml.safe_load((ROOT / "dashboards" / "kustomization.yaml").read_text(encoding="utf-8"))
    files = {str(Path(file)) for group in generators["configMapGenerator"] for file in group["files"]}
    mounted = ("grafana/*.json", "provisioning/dashboards/*", "provisioning/datasources/*", "alerts/prometheus/*")
    assert files == {str(p.relative_to(ROOT / "dashboards")) for m in mounted for p in (ROOT / "dashboards").glob(m)}


def test_the_gateway_finds_the_stores() -> None:
    """Where the gateway sends unless told otherwise is a Service of the stores for a first look, on a port that it has."""
    (gateway,) = (c for file, c in CONTAINERS if file == "components/gateway/statefulset.yaml")
    sent = [v["value"] for v in gateway["env"] if "observability" in v.get("value", "")]
    assert len(sent) == 3
    ports = {
        (document["metadata"]["name"], port["port"])
        for file, document in documents()
        if file.startswith("stores/") and document["kind"] == "Service"
        for port in document["spec"]["ports"]
    }
    for address in sent:
        found = re.fullmatch(r"(?:http://)?(\w+)\.observability:(\d+)(?:/.*)?", address)
        assert found, address
        assert (found[1], int(found[2])) in ports


def test_the_two_numbers_of_the_shards_are_one() -> None:
    """The StatefulSet has as many pods as the ConfigMap says shards."""
    folder = K8S / "overlays" / "sharded"
    stateful = yaml.safe_load((folder / "statefulset.yaml").read_text(encoding="utf-8"))
    shards = yaml.safe_load((folder / "shards.yaml").read_text(encoding="utf-8"))
    assert shards["data"] == {"count": str(stateful["spec"]["replicas"])}


def test_the_grace_period_is_longer_than_the_drain() -> None:
    """Kubernetes waits longer than running flows and the last export may take (16 s)."""
    for file, pod in PODS:
        if any(c["image"].startswith("otelprobe:") for c in pod["containers"]):
            assert pod["terminationGracePeriodSeconds"] >= 20, file


def test_a_cronjob_neither_doubles_nor_stops_for_good() -> None:
    """The fields without which a CronJob counts twice, overlaps, or ends after a hundred missed starts are set."""
    job = yaml.safe_load((K8S / "overlays" / "cronjob" / "cronjob.yaml").read_text(encoding="utf-8"))["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert 10 < job["startingDeadlineSeconds"] < 300
    run = job["jobTemplate"]["spec"]
    assert run["backoffLimit"] == 0
    assert run["activeDeadlineSeconds"] < 300
    assert run["template"]["spec"]["restartPolicy"] == "Never"
    for rule in run["podFailurePolicy"]["rules"]:
        assert all("status" in condition for condition in rule["onPodConditions"]), "required until Kubernetes 1.33"
