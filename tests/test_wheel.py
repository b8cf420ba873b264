"""The wheel holds all that is needed: what works in the tree works when installed elsewhere."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_runs_elsewhere(tmp_path: Path) -> None:
    """Built, unpacked away from the tree, and run: the demo's flow file and every command come along."""
    build = (
        "import sys; from hatchling.builders.wheel import WheelBuilder;"
        " print(next(WheelBuilder('.').build(directory=sys.argv[1])))"
    )
    built = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    site = tmp_path / "site"
    with zipfile.ZipFile(built.stdout.strip().splitlines()[-1]) as wheel:
        names = wheel.namelist()
        wheel.extractall(site)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    assert "otelprobe/py.typed" in names
    env = {k: v for k, v in os.environ.items() if not k.startswith("OTEL")} | {"PYTHONPATH": str(site)}
    where = [sys.executable, "-c", "import otelprobe; print(otelprobe.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(site)
    done = subprocess.run(
        [sys.executable, "-m", "otelprobe", "demo"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout
