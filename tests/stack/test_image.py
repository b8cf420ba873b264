"""The image without a builder: what goes into it is made by the same script, and started as a kubelet would start it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stack.harness import cache, image
from tests.stack.pod import USER, in_namespaces
from tests.stack.servers import told_in_one_line

IMAGE = image.SOURCE


@pytest.fixture(scope="module")
def installed() -> Path:
    """What the image's build stage makes."""
    with told_in_one_line():
        return image.obtain()


@pytest.fixture(scope="module")
def seen(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the image's commands did in namespaces of their own."""
    assert os.geteuid() == 0, "namespaces as the image's need root: run `make test-stack` as root"
    root = tmp_path_factory.mktemp("root")
    program = [sys.executable, "-m", "tests.stack.pod", str(installed), str(root)]
    done = subprocess.run(
        in_namespaces(*program), cwd=cache.REPOSITORY, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_runs_as_nobody_on_a_read_only_file_system(seen: dict[str, Any]) -> None:
    """The process has the manifests' numeric user and no capability, and cannot write into the image."""
    assert seen["uid"] == str(USER)
    assert int(seen["capabilities"], 16) == 0
    assert seen["no_new_privs"] == "1"
    assert seen["write"].count("Read-only file system") == 2


def test_a_rotated_secret_is_read_at_its_next_use(seen: dict[str, Any]) -> None:
    """A Secret's mount that is swapped turns `invalid_client` into a pass, without a restart or a reload."""
    assert (seen["first"]["reason"], seen["first"]["blame"]) == ("invalid_client", "config")
    assert seen["rotated"]["outcome"] == "pass"


def test_a_faulty_flow_file_never_replaces_a_good_one(seen: dict[str, Any]) -> None:
    """A ConfigMap with a fault is refused with file, line and mend, and the old flows go on; a good one is taken."""
    assert seen["refused"]["flows"] == 1
    assert re.search(r"flows\.yaml:\d+: .* did you mean discover\?", seen["refused"]["last_reload"]["fault"])
    assert seen["reloaded"]["runs"] > seen["refused"]["runs"]
    assert seen["renamed"]["flow"] == "renamed"


def test_it_ends_within_the_grace_period(seen: dict[str, Any]) -> None:
    """SIGTERM drains: the exit code says so, well within the 30 s of the manifests."""
    assert seen["code"] == 143
    assert seen["stopped_after"] < 16


def test_the_same_image_runs_once(seen: dict[str, Any]) -> None:
    """The CronJob's command gives its verdict there too."""
    assert seen["once"] == {"code": 0, "outcome": "pass"}


def test_no_secret_is_in_what_it_printed(seen: dict[str, Any]) -> None:
    """Neither the old secret nor the new one is in the log or the report."""
    assert seen["canaries"] == []


def test_the_bill_of_materials_is_what_is_installed(installed: Path) -> None:
    """The SBOM has every distribution of the image with its version, and only the locked ones are there."""
    told = json.loads((installed / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert told["bomFormat"] == "CycloneDX"
    listed = {(c["name"].lower().replace("_", "-"), c["version"]) for c in told["components"]}
    there = {
        (m[1].lower().replace("_", "-"), m[2])
        for path in installed.glob("lib/python*/site-packages/*.dist-info")
        if (m := re.fullmatch(r"(.+?)-([^-]+)\.dist-info", path.name))
    }
    assert listed == there
    pins = dict(re.findall(r"^([a-z0-9._-]+)==([^\s\\;]+)", (IMAGE / "requirements.txt").read_text(), re.MULTILINE))
    assert {name: version for name, version in there if name != "otelprobe"}.items() <= pins.items()


def test_the_image_is_made_by_that_script_and_for_that_user() -> None:
    """The Containerfile copies what the script makes, runs as the manifests' user, and starts without a shell."""
    text = (IMAGE / "Containerfile").read_text(encoding="utf-8")
    assert re.search(r"^RUN sh /src/k8s/image/build\.sh /opt/otelprobe$", text, re.MULTILINE)
    assert re.search(rf"^USER {USER}:{USER}$", text, re.MULTILINE)
    entry = json.loads(re.search(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)[1])  # type: ignore[index]
    assert entry == ["/opt/otelprobe/bin/otelprobe"]
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(bases) == {"python:${PYTHON}-slim"}
    deployment = yaml.safe_load(
        (IMAGE.parent / "workloads" / "deployment" / "deployment.yaml").read_text(encoding="utf-8")
    )
    assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == USER
