"""`otelprobe schema`: the JSON schema of flow files, for editors and for checks elsewhere."""

import argparse
import json
import sys


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    subparsers.add_parser(
        "schema",
        help="print the JSON schema of flow files for editors",
        description="Print the JSON schema (draft 2020-12) of flow files. Editors with the YAML language server read it by the"
        " comment '# yaml-language-server: $schema=./otelprobe.schema.json' in the first line of a flow file.",
    )


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    from otelprobe.config.json_schema import flow_file_schema  # noqa: PLC0415 - imports every kind of step

    _ = args
    sys.stdout.write(json.dumps(flow_file_schema(), indent=2) + "\n")
    return 0
