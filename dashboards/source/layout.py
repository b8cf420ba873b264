"""PromQL laid out over several lines, and YAML that keeps the lines."""

from typing import Any

import promql_parser
import yaml


class Text(str):
    """A text of several lines, which YAML writes as a block."""

    __slots__ = ()


def pretty(expr: str) -> Text:
    """Lay out an expression by its structure; a short one stays on its line."""
    lines = promql_parser.parse(expr).prettify().splitlines()
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    return Text("\n".join(line[margin:].rstrip() for line in lines))


class Dumper(yaml.SafeDumper):
    """Writes lists indented, as people do, and texts of several lines as blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - the signature of the base
        """Indent a list below its key."""
        super().increase_indent(flow, False)


def _block(dumper: yaml.SafeDumper, text: Text) -> Any:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


Dumper.add_representer(Text, _block)
