"""The manifests on a real control plane: admitted under the restricted standard, and made into pods by the real controllers."""

import copy
import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import kubernetes_validate
import pytest
import yaml

from otelprobe.demo import start_demo
from tests.stack.harness import cache, checkov, cluster
from tests.stack.harness.ports import free_ports
from tests.stack.page import StandIn, Terminal, commands, opened
from tests.stack.servers import told_in_one_line
from tests.telemetry.receiver import http_receiver

K8S = cache.REPOSITORY / "k8s"
CHART = K8S / "chart" / "otelprobe"
OVERLAYS = ("deployment", "cronjob", "cronjob-gateway", "sharded", "sidecar", "multi-location", "operator")
NAMESPACE = "otelprobe"
REGISTRY = "registry.example.com/team"
VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")

Objects = list[dict[str, Any]]


@pytest.fixture(scope="module")
def kubernetes_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.Cluster]:
    """A control plane with two nodes in two zones, the operators' definitions and some volumes."""
    with told_in_one_line():
        cluster.obtain()
    running = cluster.Cluster(tmp_path_factory.mktemp("kubernetes"))
    try:
        running.define(
            [
                *(cluster.definition(kind) for kind in cluster.CRDS),
                _permissive("opentelemetry.io", "v1beta1", "OpenTelemetryCollector"),
                *running.nodes(),
                *(cluster.volume(f"volume-{number}") for number in range(60)),
            ]
        )
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def rendered() -> Mapping[str, Objects]:
    """Every overlay as kustomize renders it."""
    folders = {name: K8S / "overlays" / name for name in OVERLAYS} | {"stores": K8S / "stores"}
    with told_in_one_line():
        return {name: cluster.kustomized(folder) for name, folder in folders.items()}


@dataclass(frozen=True)
class Room:
    """A namespace of the cluster that belongs to one test; what is applied goes there, whatever it says."""

    cluster: cluster.Cluster
    name: str

    def apply(self, objects: Objects) -> str:
        """Apply an overlay as `kubectl apply -k` does, the namespace first; give what was said."""
        moved = sorted(self.moved(objects), key=lambda document: document["kind"] != "Namespace")
        secret = cluster.secret("otelprobe-secrets", self.name, **{"client-secret": "canary-secret"})
        return self.cluster.apply([*moved, secret])

    def moved(self, objects: Objects) -> Objects:
        """Give the objects as they are in this namespace."""
        text = json.dumps(objects).replace(f'"namespace": "{NAMESPACE}"', f'"namespace": "{self.name}"')
        found: Objects = json.loads(text)
        for document in found:
            if document["kind"] == "Namespace":
                document["metadata"]["name"] = self.name
        return found

    def get(self, kind: str, **labels: str) -> Objects:
        """List objects of this namespace."""
        return self.cluster.get(kind, self.name, **labels)

    def running(self, count: int, **labels: str) -> Objects:
        """Wait until so many pods with these labels run, and give them."""

        def look() -> Objects:
            pods = self.get("pods", **labels)
            return pods if len(pods) == count and all(p["status"].get("phase") == "Running" for p in pods) else []

        return cast("Objects", self.cluster.eventually(look, f"{count} running pods with {labels}", 300))


@pytest.fixture
def room(kubernetes_cluster: cluster.Cluster, request: pytest.FixtureRequest) -> Room:
    """A namespace of the test's own; nothing is deleted, as the whole cluster goes at the end."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_")).strip("-")[:50].strip("-")
    return Room(kubernetes_cluster, name)


@pytest.fixture(scope="module", autouse=True)
def scheduled(request: pytest.FixtureRequest) -> None:
    """The CronJob, applied before all else, so that the minute until its first Job is not waited for."""
    started = request.getfixturevalue("kubernetes_cluster")
    every_minute = copy.deepcopy(request.getfixturevalue("rendered")["cronjob"])
    next(o for o in every_minute if o["kind"] == "CronJob")["spec"]["schedule"] = "* * * * *"
    assert "Warning" not in Room(started, "scheduled").apply(every_minute)


def _permissive(group: str, version: str, kind: str) -> dict[str, Any]:
    """Give a definition that takes anything: this operator's own is not published where it could be had."""
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


PROBERS = {"app.kubernetes.io/component": "prober"}


def test_the_deployment_runs_one_prober_and_its_gateway(room: Room, rendered: Mapping[str, Objects]) -> None:
    """The overlay is admitted without a warning, its one prober and the gateway are bound and get their volumes."""
    assert "Warning" not in room.apply(rendered["deployment"])
    (prober,) = room.running(1, **PROBERS)
    (gateway,) = room.running(1, **{"app.kubernetes.io/name": "otelprobe-gateway"})
    assert gateway["metadata"]["name"] == "otelprobe-gateway-0"
    mounted = {v["name"] for v in prober["spec"]["volumes"]}
    assert mounted == {"flows", "secrets", "data", "tmp"}, "a service-account token was mounted that nobody asked for"


def test_a_cronjob_may_do_without_a_collector_of_its_own(room: Room, rendered: Mapping[str, Objects]) -> None:
    """The variant is admitted, has one container, and sends to the gateway."""
    assert "Warning" not in room.apply(rendered["cronjob-gateway"])
    (job,) = room.get("cronjobs")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert not pod.get("initContainers")
    (container,) = pod["containers"]
    sent = [v["value"] for v in container["env"] if v["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert sent == ["http://otelprobe-gateway:4318"]
    assert "collector" not in {v["name"] for v in pod["volumes"]}


def test_the_statefulset_numbers_its_shards(room: Room, rendered: Mapping[str, Objects]) -> None:
    """Every pod has its index as a label, which its environment reads; scaling and a death leave the others alone."""
    assert "Warning" not in room.apply(rendered["sharded"])
    pods = room.running(3, **PROBERS)
    assert _indexes(pods) == {"0", "1", "2"}
    variables = {v["name"]: v for v in pods[0]["spec"]["containers"][0]["env"]}
    assert variables["SHARD"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']"
    assert list(variables).index("SHARD") < list(variables).index("OTELPROBE_SHARD"), "a later variable cannot be used"

    grown = copy.deepcopy(rendered["sharded"])
    next(o for o in grown if o["kind"] == "StatefulSet" and o["metadata"]["name"] == "otelprobe")["spec"][
        "replicas"
    ] = 4
    next(o for o in grown if o["metadata"]["name"] == "otelprobe-shards")["data"]["count"] = "4"
    before = _ids(pods)
    room.apply(grown)
    pods = room.running(4, **PROBERS)
    assert before < _ids(pods), "scaling restarted a shard"
    assert {f"data-otelprobe-{n}" for n in range(4)} < {
        c["metadata"]["name"] for c in room.get("persistentvolumeclaims")
    }

    killed = next(p for p in pods if p["metadata"]["labels"][_INDEX] == "2")
    room.cluster.kubectl("delete", "pod", "-n", room.name, killed["metadata"]["name"], "--grace-period=0", "--force")
    pods = room.running(4, **PROBERS)
    assert _indexes(pods) == {"0", "1", "2", "3"}
    assert killed["metadata"]["uid"] not in _ids(pods)


_INDEX = "apps.kubernetes.io/pod-index"


def _indexes(pods: Objects) -> set[str]:
    return {p["metadata"]["labels"][_INDEX] for p in pods}


def _ids(pods: Objects) -> set[str]:
    return {p["metadata"]["uid"] for p in pods}


def test_the_sidecar_comes_with_every_replica_of_the_application(room: Room, rendered: Mapping[str, Objects]) -> None:
    """The component adds otelprobe to the labelled Deployment, as a native sidecar, and leaves its container as it was."""
    assert "Warning" not in room.apply(rendered["sidecar"])
    for pod in room.running(2, **{"app.kubernetes.io/name": "orders"}):
        assert [c["name"] for c in pod["spec"]["containers"]] == ["orders"]
        assert [(c["name"], c["restartPolicy"]) for c in pod["spec"]["initContainers"]] == [("otelprobe", "Always")]


def test_each_location_has_its_prober_in_its_zone(room: Room, rendered: Mapping[str, Objects]) -> None:
    """The scheduler puts each location's prober into its zone, and its telemetry says which."""
    assert "Warning" not in room.apply(rendered["multi-location"])
    pods = room.running(2, **PROBERS)
    nodes = room.cluster.get("nodes")
    zones = {n["metadata"]["name"]: n["metadata"]["labels"]["topology.kubernetes.io/zone"] for n in nodes}
    for pod in pods:
        location = next(v["value"] for v in pod["spec"]["containers"][0]["env"] if v["name"] == "OTELPROBE_LOCATION")
        assert zones[pod["spec"]["nodeName"]] == location == pod["metadata"]["labels"]["otelprobe.io/location"]


def test_the_operators_objects_are_admitted(room: Room, rendered: Mapping[str, Objects]) -> None:
    """ExternalSecret and PrometheusRule fit the definitions that their operators publish."""
    assert "Warning" not in room.apply(rendered["operator"])
    assert room.get("externalsecrets")
    assert room.get("opentelemetrycollectors")
    assert bool(room.get("prometheusrules")) == any(o["kind"] == "PrometheusRule" for o in rendered["operator"])


@pytest.mark.parametrize(
    ("overlay", "component"), [("sharded", "identity"), ("sharded", "labelled-flows"), ("sidecar", "identity")]
)
def test_a_component_fits_the_workloads(room: Room, tmp_path: Path, overlay: str, component: str) -> None:
    """With the component the pods are admitted and run, with the one service-account token that it is about."""
    assert "Warning" not in room.apply(cluster.kustomized(_with_component(tmp_path, overlay, component)))
    pods = (
        room.running(3, **PROBERS) if overlay == "sharded" else room.running(2, **{"app.kubernetes.io/name": "orders"})
    )
    sources = [s for v in pods[0]["spec"]["volumes"] for s in v.get("projected", {}).get("sources", [])]
    assert [s["serviceAccountToken"]["path"] for s in sources if "serviceAccountToken" in s] == ["token"]


def test_the_reader_of_labelled_flows_may_read_configmaps_and_nothing_else(room: Room, tmp_path: Path) -> None:
    """The account can watch ConfigMaps of its namespace, and neither Secrets there nor ConfigMaps elsewhere."""
    room.apply(cluster.kustomized(_with_component(tmp_path, "deployment", "labelled-flows")))
    account = f"--as=system:serviceaccount:{room.name}:otelprobe"
    here = ("-n", room.name)
    assert room.cluster.kubectl("auth", "can-i", "watch", "configmaps", *here, account).strip() == "yes"
    for words in (("get", "secrets", *here), ("get", "configmaps", "-n", "default"), ("create", "pods", *here)):
        assert "no" in room.cluster.kubectl("auth", "can-i", *words, account, fails=True)


PAGE = (cache.REPOSITORY / "docs" / "kubernetes.md").read_text(encoding="utf-8")
NOT_RUN = {
    "make image": "no image builder",
    "docker tag": "no image builder",
    "docker push": "no image builder",
    "port-forward service/grafana": "no Grafana",
}
"""What of the page cannot be run where no container runs, and why; the page says both."""

LOCAL = "18399"
"""The port of the newcomer's machine on the page."""


def test_every_command_of_the_page_runs(
    kubernetes_cluster: cluster.Cluster, tmp_path: Path, newcomer: Callable[[Mapping[str, str]], Terminal]
) -> None:
    """From an empty cluster to a prober that answers: what the page says is typed as it stands there, in its order."""
    told: dict[str, str] = {}
    with start_demo() as demo, http_receiver() as inbox, ExitStack() as ended:
        (port,) = free_ports(1)
        stands_for = {"https://login.example.com": demo.issuer, "CLIENT_ID": demo.client_id, "REGISTRY": REGISTRY}
        stands_for[LOCAL] = str(port)
        terminal = newcomer({"client-secret": demo.client_secret})
        for command in commands(PAGE):
            if any(words in command for words in NOT_RUN):
                continue
            if command.endswith("logs deployment/otelprobe"):
                pod = _standing_in(kubernetes_cluster, tmp_path / "pod", inbox.endpoint)
                ended.callback(pod.stop)
                inbox.wait(lambda: any(span.name == "verify" for span in inbox.spans), 300)
            typed = functools.reduce(lambda text, name: text.replace(name, stands_for[name]), stands_for, command)
            told[command] = terminal.type(typed)
        logged = [line.split(" F ", 1)[1] for line in kubernetes_cluster.pod_log.read_text().splitlines()]
    _are_in_order(told)
    (logs,) = (text for command, text in told.items() if " logs " in command)
    assert logs.splitlines() == logged[: len(logs.splitlines())] != []
    (answer,) = (text for command, text in told.items() if command.startswith("curl"))
    assert json.loads(answer)["flows"] == 1
    assert kubernetes_cluster.get("namespaces", **{"kubernetes.io/metadata.name": "observability"}) == []


def _are_in_order(told: Mapping[str, str]) -> None:
    """Check that the page has the commands without which it would lead nowhere, each after what it needs."""
    wanted = (
        *("kubectl apply --server-side -k k8s/stores", "otelprobe init", "otelprobe validate", "cat > my-prober/"),
        *("kubectl apply -f", "kubectl -n otelprobe create secret", "kubectl apply -k my-prober"),
        *("kubectl -n otelprobe rollout status", "kubectl -n otelprobe logs", "curl"),
        *(
            "kubectl -n otelprobe create job --from=cronjob/",
            "kubectl -n otelprobe wait",
            "kubectl delete -k my-prober",
        ),
        *("helm install", "helm upgrade", "helm uninstall"),
    )
    typed = list(told)
    places = [next(n for n, command in enumerate(typed) if command.startswith(words)) for words in wanted]
    assert places == sorted(places)


def test_what_of_the_page_is_not_run_is_said_there() -> None:
    """Each command that is left out stands on the page, and the page says that and why it was not run."""
    said = PAGE.split("## What of this was run", 1)[1].split("\n## ", 1)[0]
    for words, why in NOT_RUN.items():
        assert any(words in command for command in commands(PAGE)), words
        assert f"`{words}`" in said
        assert why in said


def test_the_stores_of_the_reader_take_the_place_of_ours(tmp_path: Path) -> None:
    """What the page has for stores of one's own, put into an overlay, is where the gateway sends."""
    (overlay,) = re.findall(r"<<'END'\n(.*?)^END$", PAGE, re.MULTILINE | re.DOTALL)
    (patch,) = re.findall(r"^```yaml\n(patches:.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    shutil.copytree(K8S, tmp_path / "k8s", ignore=shutil.ignore_patterns("chart", "__pycache__"))
    mine = tmp_path / "my-prober"
    mine.mkdir()
    (mine / "flows.yaml").write_text("flows: []", encoding="utf-8")
    (mine / "kustomization.yaml").write_text(overlay + patch, encoding="utf-8")
    objects = cluster.kustomized(mine)
    (gateway,) = (o for o in objects if o["kind"] == "StatefulSet")
    sent = {v["name"]: v["value"] for v in gateway["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert sent["OTELCOL_TRACES"] == "tempo.monitoring:4317"
    assert sent["OTELCOL_QUEUE_DIR"] == "/var/lib/otelcol/queue", "the patch took away what it does not name"
    (flows,) = (o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "otelprobe-flows")
    assert flows["data"] == {"flows.yaml": "flows: []"}


def _standing_in(running: cluster.Cluster, folder: Path, endpoint: str) -> StandIn:
    """Start what the Deployment's pod would run, with what the cluster holds for it."""
    folder.mkdir()
    (pod,) = running.get("pods", NAMESPACE, **PROBERS)
    (container,) = pod["spec"]["containers"]
    assert container["image"] == f"{REGISTRY}/otelprobe:0.1.0"
    named = {
        kind: {o["metadata"]["name"]: o for o in running.get(kind, NAMESPACE)} for kind in ("configmaps", "secrets")
    }
    mounted = {
        "/etc/otelprobe/flows": named["configmaps"]["otelprobe-flows"]["data"],
        "/var/run/secrets/otelprobe": opened(named["secrets"]["otelprobe-secrets"]),
    }
    assert mounted.keys() <= {mount["mountPath"] for mount in container["volumeMounts"]}
    return StandIn(
        folder, container, mounted, running.pod_log,
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTELPROBE_LISTEN=f"127.0.0.1:{running.pod_port}", OTELPROBE_START_JITTER="0s",
        OTELPROBE_STATE_DIR=str(folder / "state"), OTELPROBE_SPOOL_DIR=str(folder / "spool"),
    )  # fmt: skip


@pytest.fixture
def newcomer(kubernetes_cluster: cluster.Cluster, tmp_path: Path) -> Iterator[Callable[[Mapping[str, str]], Terminal]]:
    """Give what opens a terminal in a copy of the repository, with these files besides; its kubectl speaks to the cluster."""
    opened_here: list[Terminal] = []

    def opened_with(files: Mapping[str, str]) -> Terminal:
        folder = tmp_path / "repository"
        for name in ("k8s", "dashboards"):
            shutil.copytree(cache.REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        programs = (Path(sys.executable).parent, cluster.HELM.obtain(), cluster.CONTROL_PLANE.obtain())
        environment = {
            "PATH": ":".join([*map(str, programs), "/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": str(tmp_path),
            "KUBECONFIG": str(kubernetes_cluster.kubeconfig),
        }
        opened_here.append(Terminal(folder, environment))
        return opened_here[-1]

    yield opened_with
    for terminal in opened_here:
        terminal.close()


def test_an_unhardened_pod_is_refused_there(room: Room, rendered: Mapping[str, Objects]) -> None:
    """The namespace's label is in force: the same pod as root is not admitted, so the other tests prove something."""
    room.apply(rendered["deployment"])
    template = next(o for o in rendered["deployment"] if o["kind"] == "Deployment")["spec"]["template"]
    metadata = {"name": "bare", "namespace": room.name}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}
    room.cluster.apply([pod], "--dry-run=server")
    del pod["spec"]["securityContext"]["runAsNonRoot"]
    text = yaml.safe_dump(pod)
    told = room.cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=text, fails=True)
    assert "violates PodSecurity" in told


def _with_component(folder: Path, overlay: str, component: str) -> Path:
    """Give a copy of k8s/ in which an overlay has one component more."""
    copied = folder / "k8s"
    shutil.copytree(K8S, copied, ignore=shutil.ignore_patterns("chart", "__pycache__"))
    file = copied / "overlays" / overlay / "kustomization.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    document["components"].append(f"../../components/{component}")
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file.parent


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_every_version(
    rendered: Mapping[str, Objects], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every object of every overlay fits the schemas of Kubernetes 1.29 to the newest, without an unknown field."""
    documents = {json.dumps(d, sort_keys=True): d for objects in rendered.values() for d in objects if _is_native(d)}
    assert len(documents) > 20
    read = functools.cache(kubernetes_validate.utils.schema_contents)  # else two megabytes are parsed for each object
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", read)
    for document in documents.values():
        kubernetes_validate.validate(document, version, strict=True)


def _is_native(document: dict[str, Any]) -> bool:
    """Tell Kubernetes' own objects from an operator's; those the API server has checked."""
    group = document["apiVersion"].partition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


POLICY = {
    "CKV_K8S_11": "no CPU limit on purpose: throttling would be measured as latency",
    "CKV_K8S_15": "images have a version; pulling them anew at each start makes the registry a dependency of the prober",
    "CKV_K8S_43": "digests belong to your registry: docs/kubernetes.md says to pin them",
    "CKV_K8S_38": "the gateway alone has a token, to read the names of workloads",
    "CKV2_K8S_6": "the example application is yours to wall in",
}
"""What a policy linter asks and these manifests do not do, with the reason."""


def test_a_policy_linter_finds_nothing_without_a_reason(rendered: Mapping[str, Objects], tmp_path: Path) -> None:
    """checkov's checks pass over every overlay but for the listed exceptions, each of which is still needed."""
    for name, objects in rendered.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    with told_in_one_line():
        passed, failed = checkov.findings(tmp_path)
    assert [line for line in failed if line.split()[0] not in POLICY] == []
    assert passed > 800
    assert {line.split()[0] for line in failed} == set(POLICY), "an exception that nothing needs any more"


def _helm(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(cluster.HELM.obtain() / "helm"), *words], capture_output=True, text=True, check=False, timeout=60
    )


def _chart(mode: str, *values: str) -> Objects:
    sets = [word for value in values for word in ("--set-json", value)]
    done = _helm("template", "otelprobe", str(CHART), "-n", NAMESPACE, "--set", f"mode={mode}", *sets)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


_RELEASE = {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart", "app.kubernetes.io/part-of"}


def _plain(objects: Objects) -> dict[tuple[str, str], Any]:
    """Give objects by kind and name without what differs by the way of installing: labels of metadata, hashes in names."""
    text = json.dumps([o for o in objects if o["kind"] != "Namespace"])
    for document in objects:
        name = document["metadata"]["name"]
        if document["kind"] == "ConfigMap" and len(name.rsplit("-", 1)[-1]) == 10:
            text = text.replace(name, name.rsplit("-", 1)[0])
    found = {}
    for document in json.loads(text):
        metadata = document.pop("metadata")
        template = document.get("spec", {}).get("template", {}).get("metadata", {})
        template.get("annotations", {}).pop("checksum/config", None)
        if not template.get("annotations", True):
            del template["annotations"]
        found[document["kind"], metadata["name"]] = _sorted(document)
    return found


def _sorted(value: Any) -> Any:
    """Give a value whose named lists (volumes, mounts) are in one order."""
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items() if not (key == "labels" and not item)}
    if isinstance(value, list):
        items = [_sorted(item) for item in value]
        if all(isinstance(item, dict) and ("mountPath" in item or "configMap" in item or "emptyDir" in item or "secret" in item
               or "persistentVolumeClaim" in item) for item in items):  # fmt: skip
            return sorted(items, key=lambda item: item.get("mountPath", item["name"]))
        return items
    return value


@pytest.mark.parametrize("mode", ["deployment", "sharded", "cronjob"])
def test_the_chart_makes_what_the_overlay_makes(rendered: Mapping[str, Objects], mode: str) -> None:
    """With its default values the chart installs the very objects of the Kustomize overlay of the same name."""
    chart, overlay = _plain(_chart(mode)), _plain(rendered[mode])
    assert chart.keys() == overlay.keys()
    for key, document in overlay.items():
        assert chart[key] == document, key


def test_the_chart_is_admitted(room: Room) -> None:
    """What the chart renders with values set is admitted under the restricted standard and runs."""
    namespace = yaml.safe_load((K8S / "components" / "namespace" / "namespace.yaml").read_text(encoding="utf-8"))
    objects = _chart(
        "sharded", "replicas=2", 'location="eu-west"', 'identityAudience="https://idp.example.com"',
        'env=[{"name":"HTTPS_PROXY","value":"http://proxy:3128"}]', 'flows={"a.yaml":"flows: []"}',
        'nodeSelector={"topology.kubernetes.io/zone":"zone-b"}',
    )  # fmt: skip
    for document in objects:
        document["metadata"].setdefault("namespace", NAMESPACE)
        if document["kind"].startswith("Cluster"):
            del document["metadata"]["namespace"]
    assert "Warning" not in room.apply([namespace, *objects])
    assert {p["spec"]["nodeName"] for p in room.running(2, **PROBERS)} == {"node-1"}


def test_the_chart_is_linted() -> None:
    """Helm's linter has nothing against the chart, in any mode."""
    for mode in ("deployment", "sharded", "cronjob"):
        done = _helm("lint", "--strict", str(CHART), "--set", f"mode={mode}")
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("mode=daemonset", "mode"),
        ("replicas=0", "replicas"),
        ("imgae.tag=1", "imgae"),
        ("image.digest=latest", "digest"),
        ("location=a b", "location"),
        ("endpoint=gateway:4318", "endpoint"),
    ],
)
def test_a_wrong_value_is_refused(value: str, told: str) -> None:
    """A value that cannot be meant is refused by the schema, by its name."""
    done = _helm("template", "otelprobe", str(CHART), "--set", value)
    assert done.returncode != 0
    assert told in done.stderr


def test_the_cronjob_makes_jobs_whose_pods_have_a_collector_beside_them(kubernetes_cluster: cluster.Cluster) -> None:
    """The controller makes a Job on schedule; its pod has the collector as a native sidecar, and the Job completes."""
    here = Room(kubernetes_cluster, "scheduled")
    jobs = kubernetes_cluster.eventually(
        lambda: [j for j in here.get("jobs") if j["status"].get("succeeded")], "completed job of the CronJob", 300
    )
    assert jobs[0]["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    pod = here.get("pods", **PROBERS)[0]
    assert [(c["name"], c.get("restartPolicy")) for c in pod["spec"]["initContainers"]] == [("collector", "Always")]
    assert pod["spec"]["containers"][0]["args"][:2] == ["once", "--exit-zero"]
