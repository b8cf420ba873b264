"""What the pages say is so: examples load, links lead somewhere, commands parse, and tables equal the code."""

import argparse
import dataclasses
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path

import pytest
import yaml

from otelprobe.__main__ import COMMANDS, build_parser
from otelprobe.audit.settings import Audit
from otelprobe.config.load import load
from otelprobe.config.meanings import meanings
from otelprobe.config.models import Flow, Objective, Telemetry
from otelprobe.config.settings import Settings
from otelprobe.credentials import Auth
from otelprobe.expect import Expect, Matcher
from otelprobe.fields import HttpOptions, Listen
from otelprobe.plan import build
from otelprobe.provider import ENDPOINTS, Provider
from otelprobe.sharding import Shard
from otelprobe.step import Step
from otelprobe.steps import STEPS
from otelprobe.telemetry.settings import TelemetrySettings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md"]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
LINK_TEXT = re.compile(r"\[([^\]]*)\]\([^)]*\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def text_of(page: Path) -> str:
    """Read a page."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Give the fenced blocks of these languages."""
    yield from (m[2] for m in FENCE.finditer(text_of(page)) if m[1] in languages)


def prose(page: Path) -> str:
    """Give a page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def section(page: Path, title: str) -> str:
    """Give what stands below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text_of(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no heading {title}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """Give the rows of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {n for n, line in enumerate(lines[1:]) if line.startswith("| ---")}
    return [row for n, row in enumerate(rows) if n not in heads and n - 1 not in heads]


def plain(cell: str) -> str:
    """Give a cell without the marks of code."""
    return cell.strip("`")


def ident(page: Path, number: int) -> str:
    """Name the block of a page for the report of the tests."""
    return f"{page.name}-{number}"


FLOWS = [
    pytest.param(block, id=ident(page, number))
    for page in PAGES
    for number, block in enumerate(blocks(page, "yaml"))
    if re.search(r"^flows:", block, re.MULTILINE)
]
OTHERS = [
    pytest.param(block, id=ident(page, number))
    for page in PAGES
    for number, block in enumerate(blocks(page, "yaml"))
    if not re.search(r"^flows:", block, re.MULTILINE)
]


@pytest.mark.parametrize("example", FLOWS)
def test_every_flow_file_of_the_pages_loads_and_is_wired(example: str, tmp_path: Path) -> None:
    """What a reader copies from a page is accepted as it stands."""
    file = tmp_path / "flows.yaml"
    file.write_text(example, encoding="utf-8")
    assert build(load([file]))


@pytest.mark.parametrize("example", OTHERS)
def test_every_other_yaml_of_the_pages_is_sound(example: str) -> None:
    """A piece of YAML that is no flow file can at least be read."""
    assert yaml.safe_load(example)


def test_the_pages_have_examples() -> None:
    """The two tests above look at something."""
    assert len(FLOWS) > 5
    assert OTHERS


def anchor(heading: str) -> str:
    """Make a heading's anchor as GitHub does."""
    words = LINK_TEXT.sub(r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(page: Path) -> list[str]:
    """Give every anchor of a page."""
    return [anchor(m[1]) for m in HEADING.finditer(prose(page))]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """No link of a page ends at a file or an anchor that is not there."""
    targets = [t for t in LINK.findall(CODE.sub("", prose(page))) if "://" not in t]
    targets += [t for t in LINK.findall(prose(page)) if "://" not in t]
    for target in sorted(set(targets)):
        path, _, name = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}: no such file"
        if name:
            assert name in anchors(file), f"{page.name} links to {target}: no such anchor"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_heading_has_an_anchor_of_its_own(page: Path) -> None:
    """Two headings of a page do not share an anchor, so a link is never ambiguous."""
    names = anchors(page)
    assert len(names) == len(set(names))


def shell_commands(page: Path) -> Iterator[list[str]]:
    """Give the words after `otelprobe` of every command in the page's shell blocks and code spans."""
    lines = [line for block in blocks(page, "sh", "shell", "bash") for line in block.replace("\\\n", " ").splitlines()]
    spans = [span for span in CODE.findall(prose(page)) if span.startswith("otelprobe ")]
    for line in [*lines, *spans]:
        words = list(takewhile(lambda word: word not in {"|", ">", "&&"}, shlex.split(line, comments=True)))
        while words and "=" in words[0]:
            words.pop(0)
        if words[:1] == ["otelprobe"]:
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_is_accepted(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that a page shows names a command and options that exist."""
    for words in shell_commands(page):
        command = next((word for word in words if not word.startswith("-")), None)
        code: object = 0
        try:
            build_parser(command).parse_args(words)
        except SystemExit as end:  # `--help` ends with 0
            code = end.code
        assert code == 0, f"{page.name}: otelprobe {shlex.join(words)}: {capsys.readouterr().err}"


def options_of(command: str) -> set[str]:
    """Give the options of a command."""
    commands = next(a for a in build_parser(command)._actions if isinstance(a, argparse._SubParsersAction))
    return {option for action in commands.choices[command]._actions for option in action.option_strings}


def test_the_pages_show_commands() -> None:
    """The test above sees the commands, and every command is shown somewhere."""
    shown = {words[0] for page in PAGES for words in shell_commands(page)}
    assert shown >= set(COMMANDS)


@pytest.mark.parametrize(
    "page", [DOCS / "operations.md", DOCS / "flow-file.md", DOCS / "limits.md"], ids=lambda p: p.name
)
def test_every_option_named_in_prose_exists(page: Path) -> None:
    """An option that a sentence mentions is one of some command."""
    known = set().union(*(options_of(command) for command in COMMANDS))
    assert set(OPTION.findall(prose(page))) <= known


def test_the_exit_codes_are_those_of_the_command() -> None:
    """The table of exit codes says what `otelprobe --help` says, word for word."""
    epilog = build_parser(None).epilog or ""
    told = re.findall(r"^  ([\d, ]*\d)  (.+)$", epilog, re.MULTILINE)
    shown = [(code, meaning) for code, meaning in table(section(DOCS / "operations.md", "Exit codes"))]
    assert told
    assert shown == told


def as_written(value: object) -> str:
    """Write a setting's default as a variable would."""
    if isinstance(value, Listen):
        return f"{value.host}:{value.port}"
    if isinstance(value, Shard):
        return value.words
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}s"
    return "" if value in {None, ()} else str(value)


def as_in_a_cell(words: str) -> str:
    """Give words without links, and without what makes a sentence of them."""
    return LINK_TEXT.sub(r"\1", words).removesuffix(".").lower()


def test_the_settings_are_those_of_the_code() -> None:
    """The table of settings has every setting with its variable, its default and its meaning as the code tells them."""
    rows = table(section(DOCS / "operations.md", "Settings"))
    shown = [(plain(variable), plain(default), as_in_a_cell(meaning)) for variable, _, default, meaning in rows]
    said = meanings(Settings)
    assert shown == [
        (f"OTELPROBE_{field.name.upper()}", as_written(field.default), as_in_a_cell(said[field.name]))
        for field in dataclasses.fields(Settings)
        if "from" not in field.metadata
    ]


def test_the_flags_of_settings_exist() -> None:
    """Each setting's flag is its name, and is taken by the commands that the table names, or by both that run flows."""
    for variable, flag, _, meaning in table(section(DOCS / "operations.md", "Settings")):
        name = plain(variable).removeprefix("OTELPROBE_").lower().replace("_", "-")
        if name == "config":
            continue
        assert plain(flag) == f"--{name}"
        named = re.search(r"; for (.+)$", meaning)
        for command in CODE.findall(named[1]) if named else ["run", "once"]:
            assert plain(flag) in options_of(command), f"{flag} is no option of {command}"


_BASE: Mapping[str, str] = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
_VARIABLES: Mapping[str, str] = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4318",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_HEADERS": "a=b",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "3000",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "ca.pem",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "client.pem",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": "client.key",
    "OTEL_EXPORTER_OTLP_INSECURE": "true",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "console",
    "OTEL_SDK_DISABLED": "true",
    "OTEL_SERVICE_NAME": "other",
    "OTEL_RESOURCE_ATTRIBUTES": "a=b",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
    "OTEL_BSP_SCHEDULE_DELAY": "1",
    "OTEL_BSP_MAX_QUEUE_SIZE": "1024",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1",
    "OTEL_BLRP_SCHEDULE_DELAY": "5",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "1024",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "1",
}


def test_the_opentelemetry_variables_are_honoured() -> None:
    """Each variable of the table changes what telemetry is set up from; none is listed in vain, none is missing here."""
    rows = table(section(DOCS / "operations.md", "OpenTelemetry variables"))
    assert [plain(row[0]) for row in rows] == list(_VARIABLES)
    before = TelemetrySettings.from_environment(environ=_BASE)
    for name, value in _VARIABLES.items():
        assert TelemetrySettings.from_environment(environ={**_BASE, name: value}) != before, name


def test_the_opentelemetry_defaults_are_those_of_the_code() -> None:
    """Setting a variable to the default that the table tells changes nothing."""
    before = TelemetrySettings.from_environment(environ=_BASE)
    for variable, default, _ in table(section(DOCS / "operations.md", "OpenTelemetry variables")):
        name, value = plain(variable), plain(default)
        seconds = re.fullmatch(r"(\d+) s", value)
        if name == "OTEL_EXPORTER_OTLP_ENDPOINT":
            continue
        value = str(int(seconds[1]) * 1000) if seconds else value
        assert TelemetrySettings.from_environment(environ={**_BASE, name: value}) == before, name


@pytest.mark.parametrize(
    ("title", "cls", "besides"),
    [
        ("Providers", Provider, {"name"}),
        ("Flows", Flow, set()),
        ("Steps", Step, set()),
        ("HTTP options", HttpOptions, set()),
        ("Telemetry", Telemetry, set()),
        ("Audit trail", Audit, set()),
    ],
)
def test_every_key_of_the_flow_file_is_described(title: str, cls: type, besides: set[str]) -> None:
    """The tables of flow-file.md name every key of a provider, a flow, a step, `http:` and `telemetry:`, and no other."""
    rows = table(section(DOCS / "flow-file.md", title))
    shown = {key for row in rows for key in CODE.findall(row[0])}
    assert shown == {field.name for field in dataclasses.fields(cls)} - besides


def test_every_word_of_the_flow_file_is_described() -> None:
    """Expectations, conditions of a matcher, credentials, objectives and endpoints are all named."""
    page = DOCS / "flow-file.md"
    assert {f.name for f in dataclasses.fields(Expect)} <= set(CODE.findall(section(page, "Expectations")))
    conditions = {f.name for f in dataclasses.fields(Matcher)} - {"equals", "by_value"}
    told = {span.partition(":")[0] for row in table(section(page, "Matchers")) for span in CODE.findall(row[0])}
    assert told - {"false"} == conditions
    shown = " ".join(row[0] for row in table(section(page, "Credentials")))
    assert all(re.search(rf"\{{{f.name}:", shown) for f in dataclasses.fields(Auth))
    assert {f.name for f in dataclasses.fields(Objective)} <= set(CODE.findall(section(page, "Flows")))
    assert set(ENDPOINTS) <= set(CODE.findall(section(page, "Providers")))


def test_every_kind_of_step_is_linked() -> None:
    """flow-file.md links every kind of step, and says how many there are."""
    text = section(DOCS / "flow-file.md", "Steps")
    assert re.findall(r"steps\.md#(\w+)\)", text) == list(STEPS)
    assert f"There are {len(STEPS)} kinds" in text


def test_every_parameter_has_its_meaning() -> None:
    """The page of steps describes each parameter in words of the flow file, not of Python."""
    rows = [row for row in table(text_of(DOCS / "steps.md")) if len(row) >= 4]
    assert len(rows) > 60
    for row in rows:
        assert row[1], row
        assert row[-1], row
        assert not re.search(r"\b(str|int|bool|None|tuple|Literal|Annotated|typing|Mapping)\b", row[1]), row


def _declared(names: list[str]) -> dict[str, str]:
    """Split requirements into name (with extras) and the rest."""
    matches = [re.fullmatch(r"([A-Za-z0-9._-]+(?:\[\w+\])?)\s*(.*)", name) for name in names]
    return {m[1]: m[2] for m in matches if m}


def test_the_dependencies_are_those_of_the_project() -> None:
    """dependencies.md has every direct dependency with its range, and no other."""
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    page = DOCS / "dependencies.md"
    groups = {
        "At run time": project["project"]["dependencies"],
        "For the demo (extra `demo`)": project["project"]["optional-dependencies"]["demo"],
        "For log-in pages (extra `forms`)": project["project"]["optional-dependencies"]["forms"],
        "For SAML (extra `saml`)": project["project"]["optional-dependencies"]["saml"],
        "For development and CI (group `dev`)": project["dependency-groups"]["dev"],
    }
    for title, declared in groups.items():
        assert {plain(row[0]): plain(row[1]) for row in table(section(page, title))} == _declared(declared), title


def test_the_releases_are_those_that_are_pinned() -> None:
    """The release that dependencies.md tells of is the pinned one, so that the page is looked at when pins move."""
    pins = dict(re.findall(r"^([a-z0-9._-]+)==([^\s\\;]+)", text_of(ROOT / "requirements-dev.txt"), re.MULTILINE))
    rows = table(text_of(DOCS / "dependencies.md"))
    told = {plain(row[0]).partition("[")[0].lower(): row[-1].partition(",")[0] for row in rows if "," in row[-1]}
    assert len(told) > 15
    assert told == {name: pins[name] for name in told}


def test_every_room_is_in_the_house() -> None:
    """house.md names every module and package, so that nobody looks for one in vain."""
    rows = table(section(DOCS / "house.md", "Rooms"))
    shown = {name.rstrip("/") for row in rows for name in CODE.findall(row[0])}
    there = {p.name for p in (ROOT / "otelprobe").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert shown == there - {"__init__.py"}


def test_the_import_law_is_that_of_the_linter() -> None:
    """The order of rooms that house.md tells is the order that the import linter holds."""
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    contract = next(c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    layers = [room.strip().removeprefix("otelprobe.") for layer in contract["layers"] for room in layer.split("|")]
    law = section(DOCS / "house.md", "Import law").partition("1. ")[2].partition("Never upward")[0]
    assert CODE.findall(law) == [room for room in layers if room != "cron"]
