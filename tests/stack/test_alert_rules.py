"""Every alert by promtool's own evaluation: it fires, it does not one step below, it ends, and no data is no alarm."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.source.alerts import groups
from dashboards.source.outputs import flat
from dashboards.source.rules import Parameters
from tests.stack.alert_cases import CASES, Case
from tests.stack.harness import cache
from tests.stack.harness.linters import PINT
from tests.stack.harness.prometheus import MODULE
from tests.stack.servers import told_in_one_line

RULES = sorted((cache.REPOSITORY / "dashboards" / "alerts" / "prometheus").glob("*.yaml"))
ALERTS = flat(groups(Parameters()))
_RECORDED = re.compile(r"otelprobe:[a-z0-9_:]+")


def promtool(*words: str | Path) -> str:
    """Run promtool; give what it said against it, empty if nothing."""
    with told_in_one_line():
        program = MODULE.obtain() / "promtool"
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=300, check=False)
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}"


def written(values: Sequence[float | None]) -> str:
    """Write values as promtool reads them, repeated ones and steady growth in short."""
    words: list[str] = []
    at = 0
    while at < len(values):
        words.append(_run(values, at))
        at += int(words[-1].rsplit("x", 1)[1]) + 1 if "x" in words[-1] else 1
    return " ".join(words)


def _run(values: Sequence[float | None], at: int) -> str:
    first = values[at]
    if first is None:
        return "_"
    following = values[at + 1] if at + 1 < len(values) else None
    if following is None:
        return f"{first:g}" if first.is_integer() else repr(first)
    step, end = following - first, at + 1
    while end + 1 < len(values) and values[end + 1] == (values[end] or 0) + step:
        end += 1
    return f"{first!r}{step:+}x{end - at}"


def check(alert: str, minute: int, labels: Mapping[str, str], *, fires: bool) -> dict[str, Any]:
    """Give a test of promtool: the alert fires once at this minute, with these labels, or does not."""
    told = "".join(f',{key}="{value}"' for key, value in labels.items())
    expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"{told}}})'
    return {
        "expr": expr, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
    }  # fmt: skip


def floats(values: Sequence[float | None]) -> list[float | None]:
    """Give the values as floats, gaps as they are."""
    return [None if value is None else float(value) for value in values]


def as_test(case: Case) -> dict[str, Any]:
    """Give a case as promtool has it."""
    checks = [check(case.alert, minute, case.labels, fires=True) for minute in case.fires]
    checks += [check(case.alert, minute, {}, fires=False) for minute in case.silent]
    given = [{"series": name, "values": written(floats(values))} for name, values in case.series.items()]
    return {"name": f"{case.alert}: {case.what}", "interval": "1m", "input_series": given, "promql_expr_test": checks}


def needed(alert: str, folder: Path) -> Path:
    """Write the shipped rules that an alert needs, itself and whatever recorded series it reads; the rest costs time only."""
    shipped = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    rules = {id(rule): rule for group in shipped for rule in group["rules"]}
    wanted = {number for number, rule in rules.items() if rule.get("alert") == alert}
    read: set[str] = set()
    while read != (names := {name for number in wanted for name in _RECORDED.findall(rules[number]["expr"])}):
        read = names
        wanted |= {number for number, rule in rules.items() if rule.get("record") in read}
    kept = [{**group, "rules": [rule for rule in group["rules"] if id(rule) in wanted]} for group in shipped]
    path = folder / "needed.rules.yaml"
    text = yaml.safe_dump({"groups": [group for group in kept if group["rules"]]}, sort_keys=False, width=10**6)
    path.write_text(text, encoding="utf-8")
    return path


def promtool_file(folder: Path, tests: Sequence[dict[str, Any]], rules: Sequence[Path], every: int = 1) -> Path:
    """Write a test file for promtool."""
    path = folder / "test.yaml"
    order = [group.name for group in groups(Parameters())]
    tree = {
        "rule_files": [str(p) for p in rules],
        "evaluation_interval": f"{every}m",
        "group_eval_order": order,
        "tests": tests,
    }
    path.write_text(yaml.safe_dump(tree, sort_keys=False, width=10**6), encoding="utf-8")
    return path


@pytest.mark.parametrize("alert", sorted({case.alert for case in CASES}))
def test_an_alert_fires_and_ends_when_it_should(alert: str, tmp_path: Path) -> None:
    """With each case's data the alert fires at just the minutes that the case names."""
    own = [case for case in CASES if case.alert == alert]
    for every in sorted({case.every for case in own}):
        tests = [as_test(case) for case in own if case.every == every]
        assert promtool("test", "rules", promtool_file(tmp_path, tests, [needed(alert, tmp_path)], every)) == ""


def test_every_alert_has_its_cases() -> None:
    """Every alert is seen firing, and, but for the watchdog, seen silent at data one step below and after its end."""
    assert {case.alert for case in CASES} == set(ALERTS)
    for name in ALERTS:
        own = [case for case in CASES if case.alert == name]
        assert any(case.fires for case in own), name
        assert name == "OtelprobeWatchdog" or any(case.silent for case in own), name


def test_no_data_is_no_alarm(tmp_path: Path) -> None:
    """An empty Prometheus has the watchdog and nothing else."""
    quiet = [
        {
            "expr": 'count by (alertname) (ALERTS{alertname!="OtelprobeWatchdog"})',
            "eval_time": f"{m}m",
            "exp_samples": [],
        }
        for m in (0, 30, 120)
    ]
    test = {"name": "nothing", "interval": "1m", "input_series": [], "promql_expr_test": quiet}
    assert promtool("test", "rules", promtool_file(tmp_path, [test], RULES)) == ""


def test_the_rules_are_clean() -> None:
    """promtool finds no fault and no duplicate in the files."""
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES) == ""


def test_pint_finds_nothing() -> None:
    """The linter of those who run thousands of rules has nothing to say, but for what pint.hcl gives a reason for."""
    with told_in_one_line():
        pint = PINT.obtain() / "pint"
    folder = RULES[0].parents[1]
    words = (
        "--offline",
        "--no-color",
        "--config",
        folder / "pint.hcl",
        "lint",
        "--min-severity=info",
        "--fail-on=info",
    )
    done = subprocess.run([pint, *words, RULES[0].parent], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
