"""Settings of the process from flags, variables and .env."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from otelprobe.config.faults import ConfigError
from otelprobe.config.settings import Listen, Settings, load_settings
from otelprobe.sharding import Shard


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty directory and without OTELPROBE_* variables."""
    for name in [n for n in os.environ if n.upper().startswith("OTELPROBE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def faults(flags: Mapping[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags)
    return str(caught.value).splitlines()


def test_defaults_hold_where_nothing_is_set() -> None:
    """Without flags, variables and .env the defaults hold; flags that were not given do not count."""
    assert load_settings({"workers": None}) == Settings()


def test_flags_win_over_variables_over_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest wins: flag, then variable, then .env, then default."""
    Path(".env").write_text("OTELPROBE_LOCATION=file\nOTELPROBE_STATE_DIR=/file\nOTELPROBE_WORKERS=2\n")
    monkeypatch.setenv("OTELPROBE_LOCATION", "variable")
    monkeypatch.setenv("OTELPROBE_STATE_DIR", "/variable")
    settings = load_settings({"location": "flag"})
    assert (settings.location, settings.state_dir, settings.workers) == ("flag", "/variable", 2)


def test_every_setting_is_read_from_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are text; each setting has its type all the same."""
    values = {
        "CONFIG": "/etc/a:/etc/b", "LOG_LEVEL": "debug", "LOG_FORMAT": "json", "COLOR": "never", "STATE_DIR": "007",
        "SPOOL_DIR": "/spool", "LOCATION": "eu-1", "LISTEN": ":8080", "WORKERS": "8", "SHARD": "1/3",
        "START_JITTER": "0s", "REQUIRE_DELIVERY": "true", "EXIT_ZERO": "yes",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"OTELPROBE_{name}", value)
    assert load_settings({}) == Settings(
        config=("/etc/a", "/etc/b"), log_level="debug", log_format="json", color="never", state_dir="007",
        spool_dir="/spool", location="eu-1", listen=Listen("", 8080), workers=8, shard=Shard(1, 3),
        start_jitter=0.0, require_delivery=True, exit_zero=True,
    )  # fmt: skip
    assert len(values) == len(Settings.__dataclass_fields__) - 1


def test_flags_may_be_typed_already() -> None:
    """A flag that the command line has turned into a number or a boolean is taken as it is."""
    assert load_settings({"workers": 3, "require_delivery": True}) == Settings(workers=3, require_delivery=True)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False)])
def test_a_switch_takes_what_is_usual_in_variables(monkeypatch: pytest.MonkeyPatch, text: str, value: bool) -> None:
    """In a variable 1, yes and on are as good as true."""
    monkeypatch.setenv("OTELPROBE_REQUIRE_DELIVERY", text)
    assert load_settings({}).require_delivery is value


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OTELPROBE_LOCATION=` in a manifest means: not set."""
    monkeypatch.setenv("OTELPROBE_LOCATION", "")
    monkeypatch.setenv("OTELPROBE_WORKERS", "")
    assert load_settings({}) == Settings()


def test_every_fault_names_its_flag_or_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """All wrong settings are told at once, by the name under which each was set and without its value."""
    monkeypatch.setenv("OTELPROBE_WORKERS", "hunter2")
    monkeypatch.setenv("OTELPROBE_START_JITTER", "5")
    monkeypatch.setenv("OTELPROBE_REQUIRE_DELIVERY", "hunter2")
    said = faults({"shard": "3/3", "log_level": "warn", "listen": "hunter2", "location": "a b", "config": ""})
    assert said == [
        "--config: not a list of paths: write /etc/otelprobe, more of them separated by :",
        "--listen: not an address: write host:port, :port for every address, or none",
        "--location: not a name: up to 63 letters, digits, _ . and -, the first a letter or digit",
        "--log-level: unknown word; did you mean warning?",
        "--shard: no such shard: they are counted from 0, so the last of three is 2/3",
        "OTELPROBE_REQUIRE_DELIVERY: not a switch: write true or false",
        "OTELPROBE_START_JITTER: not a duration: write 250ms, 5s, 15m, 2h or 90d",
        "OTELPROBE_WORKERS: not a number of workers: write 1 to 1024",
    ]


@pytest.mark.parametrize(
    ("text", "listen"),
    [("none", None), ("[::1]:80", Listen("::1", 80)), ("localhost:1", Listen("localhost", 1))],
)
def test_listen(text: str, listen: Listen | None) -> None:
    """The health endpoints can be put anywhere, or left out."""
    assert load_settings({"listen": text}).listen == listen


def test_variables_that_mean_nothing_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped OTELPROBE_* is told with the nearest known; the demo's and other programs' are left alone."""
    Path(".env").write_text("OTELPROBE_STATEDIR=/x\nCLIENT_SECRET=hunter2\n")
    monkeypatch.setenv("OTELPROBE_ZZZ", "hunter2")
    monkeypatch.setenv("OTELPROBE_DEMO_FAULT", "slow")
    assert load_settings({}).warnings == (
        "OTELPROBE_STATEDIR means nothing; did you mean OTELPROBE_STATE_DIR?",
        "OTELPROBE_ZZZ means nothing",
    )


def test_an_env_file_that_is_no_text_is_told() -> None:
    """A .env that cannot be read is a fault, not a traceback."""
    Path(".env").write_bytes(b"OTELPROBE_LOCATION=\xff\n")
    assert faults({}) == [".env: cannot be read: it is not UTF-8 text"]


def test_pydantic_is_not_imported_without_variables() -> None:
    """A run without OTELPROBE_* and .env does not pay for pydantic-settings."""
    code = (
        "import os, sys\n"
        "for n in [n for n in os.environ if n.startswith('OTELPROBE_')]: del os.environ[n]\n"
        "from otelprobe.config.settings import load_settings\n"
        "import otelprobe.config.load\n"
        "load_settings({'workers': '3'})\n"
        "print(sorted({'pydantic', 'cronsim', 'jsonpath', 'difflib', 'requests'} & set(sys.modules)))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
