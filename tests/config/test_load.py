"""Files and directories to one Config."""

import time
from pathlib import Path

import pytest

from otelprobe.config.faults import ConfigError
from otelprobe.config.load import load
from otelprobe.http import Redirects
from otelprobe.steps.call import Call
from otelprobe.steps.token import Token

PROVIDER = (
    "providers: {corp: {issuer: https://login.example.com, client_id: otelprobe, client_secret: {env: SECRET}}}\n"
)


def flow(name: str, rest: str = "") -> str:
    return f"flows:\n  - name: {name}\n    provider: corp\n    steps: [discover, token]\n{rest}"


def faults(*paths: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(paths)
    return str(caught.value).splitlines()


def test_values_arrive_typed(tmp_path: Path) -> None:
    """What is written reaches the frozen values, in seconds, bytes and classes; steps are named after their kind."""
    file = tmp_path / "flows.yaml"
    file.write_text(
        PROVIDER + "flows:\n- name: orders\n  provider: corp\n  every: 1m30s\n  labels: {team: a}\n"
        "  objective: {availability: 99.9%, api_latency: 500ms}\n  http: {max_size: 64KiB, ip_version: 6, proxy: none}\n"
        "  steps:\n  - token\n  - {step: call, name: me, url: https://api.example.com, redirects: same_origin, always: true}\n"
    )
    config = load([file])
    (orders,) = config.flows
    assert config.providers["corp"].name == "corp"
    assert (orders.name, orders.interval, orders.deadline, orders.labels) == ("orders", 90.0, 20.0, {"team": "a"})
    assert orders.objective.as_numbers() == {"availability": 0.999, "api_latency": 0.5}
    assert (orders.http.max_size, orders.http.ip_version, orders.http.proxy) == (65536, 6, "none")
    token, call = orders.steps
    assert isinstance(token, Token)
    assert isinstance(call, Call)
    assert (token.name, call.name, call.redirects, call.always) == ("token", "me", Redirects.SAME_ORIGIN, True)


def test_every_file_of_a_directory_is_merged_by_name(tmp_path: Path) -> None:
    """A directory's *.yaml and *.yml are one configuration, in the order of their names; other files are left alone."""
    (tmp_path / "b.yml").write_text(flow("second"))
    (tmp_path / "a.yaml").write_text(flow("first"))
    (tmp_path / "c.yaml").write_text(PROVIDER)
    (tmp_path / "notes.txt").write_text(": no YAML :")
    (tmp_path / ".hidden.yaml").write_text(flow("first"))
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    config = load([tmp_path])
    assert [f.name for f in config.flows] == ["first", "second"]
    assert list(config.providers) == ["corp"]


def test_a_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    """Kubernetes links files through `..data`: each is read, none twice, the dotted directories not at all."""
    real = tmp_path / "..2026_11_22"
    real.mkdir()
    (real / "flows.yaml").write_text(PROVIDER + flow("orders"))
    (tmp_path / "..data").symlink_to(real.name)
    (tmp_path / "flows.yaml").symlink_to("..data/flows.yaml")
    assert [f.name for f in load([tmp_path]).flows] == ["orders"]
    assert [f.name for f in load([tmp_path, tmp_path / "flows.yaml"]).flows] == ["orders"]


def test_a_name_defined_twice_names_both_places(tmp_path: Path) -> None:
    """The same flow or provider in two files is a fault that says where both are."""
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(PROVIDER + flow("orders"))
    b.write_text(PROVIDER + flow("orders"))
    assert faults(tmp_path) == [
        f"{b}:1: providers.corp: a second one of this name; the first is in {a}:1: rename or remove one",
        f"{b}:3: flows[0].name: a second one of this name; the first is in {a}:3: rename or remove one",
    ]


def test_faults_of_all_files_are_told_in_order(tmp_path: Path) -> None:
    """A fault in one file hides none in another, and a reference is checked although something else is wrong."""
    a, b, c = (tmp_path / f"{n}.yaml" for n in "abc")
    a.write_text(PROVIDER + flow("one") + "    evry: 5s\n")
    b.write_text("a: 'x\n")
    c.write_text("flows:\n  - name: two\n    provider: crp\n    steps: [dicsover]\n")
    assert faults(c, b, a) == [
        f"{a}:6: flows[0].evry: unknown key; did you mean every?",
        f"{b}:2:1: a quote that is not closed",
        f"{c}:3: flows[0].provider: no such provider; did you mean corp?",
        f"{c}:4: flows[0].steps[0]: unknown kind; did you mean discover?",
    ]


def test_a_provider_in_an_unreadable_file_is_not_called_unknown(tmp_path: Path) -> None:
    """Where the file with the providers is broken, flows are not blamed for naming them."""
    (tmp_path / "a.yaml").write_text("providers: [\n")
    (tmp_path / "b.yaml").write_text(flow("orders"))
    assert len(faults(tmp_path)) == 1


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    """No path, a path that is not there, a directory without flow files: each is one fault."""
    assert faults() == ["no flow file is named: give a file or a directory"]
    assert faults(tmp_path / "none") == [f"{tmp_path}/none: cannot be read: No such file or directory"]
    assert faults(tmp_path) == [f"{tmp_path}: no *.yaml or *.yml file in this directory"]


def test_telemetry_stands_in_one_file(tmp_path: Path) -> None:
    """A second telemetry block is a fault that names the first."""
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(PROVIDER + flow("orders", "telemetry: {endpoint: https://otlp.example.com}\n"))
    assert load([a]).telemetry.endpoint == "https://otlp.example.com"
    b.write_text("telemetry: {insecure: true}\n")
    assert faults(tmp_path) == [f"{b}:1: telemetry: telemetry stands already in {a}:6: keep one"]


def test_the_audit_trail_stands_in_one_file(tmp_path: Path) -> None:
    """A second audit block is a fault that names the first, whatever the two say."""
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(PROVIDER + flow("orders", "audit: {file: audit.jsonl}\n"))
    assert load([a]).audit.file == "audit.jsonl"
    b.write_text("audit: {file: audit.jsonl}\n")
    assert faults(tmp_path) == [f"{b}:1: audit: audit stands already in {a}:6: keep one"]


def test_places_are_kept_for_later_rooms(tmp_path: Path) -> None:
    """A path of the merged whole gives the line in its own file, whichever of the files that is."""
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(PROVIDER + flow("first"))
    b.write_text("flows:\n- name: second\n  steps:\n  - discover\n  - step: token\n    scope: a\n")
    config = load([tmp_path])
    assert config.where(("flows", 1, "steps", 1, "scope")) == (str(b), 6)
    assert config.where(("flows", 0, "steps", 1)) == (str(a), 5)
    assert config.where(("providers", "corp", "issuer")) == (str(a), 1)
    assert config.where_flow("second", "steps", 0, "use") == (str(b), 4)
    assert str(config.fault(("flows", 1, "steps", 1), "wrong")) == f"{b}:5: flows[0].steps[1]: wrong"
    with pytest.raises(LookupError):
        config.where(("telemetry", "endpoint"))


def test_anchors_may_stand_under_x_keys(tmp_path: Path) -> None:
    """Steps that flows share are written once, under a key that starts with `x-`."""
    file = tmp_path / "f.yaml"
    file.write_text(
        "x-steps: &steps [discover, token]\n" + PROVIDER + "flows: [{name: a, provider: corp, steps: *steps}]\n"
    )
    assert [s.kind for s in load([file]).flows[0].steps] == ["discover", "token"]


@pytest.mark.parametrize(
    ("cron", "shortest"), [("*/5 * * * *", 300.0), ("0 9,10 * * *", 3600.0), ("0 0 1 * *", 28 * 86400.0)]
)
def test_cron_gives_its_shortest_gap(tmp_path: Path, cron: str, shortest: float) -> None:
    """The interval of a flow with cron is the shortest time between two runs."""
    file = tmp_path / "f.yaml"
    file.write_text(PROVIDER + flow("a", f"    cron: '{cron}'\n"))
    assert load([file]).flows[0].interval == shortest


def test_a_thousand_flows_load_in_time(tmp_path: Path) -> None:
    """1,000 flows of 6 steps load within 2 s of processor time, so that a reload is not felt."""
    steps = "".join(
        f"  - {{step: call, name: s{i}, url: https://api.example.com/v1, expect: {{status: 200, max_duration: 5s}}}}\n"
        for i in range(6)
    )
    file = tmp_path / "f.yaml"
    file.write_text("flows:\n" + "".join(f"- name: flow-{i}\n  steps:\n{steps}" for i in range(1000)))
    started = time.process_time()
    assert len(load([file]).flows) == 1000
    assert time.process_time() - started < 2.0


def test_a_directory_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without permission is a fault, not a traceback."""

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert faults(tmp_path) == [f"{tmp_path}: cannot be listed: Permission denied"]
