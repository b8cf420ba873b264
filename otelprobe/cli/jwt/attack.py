"""`otelprobe jwt attack`: the bad tokens that can be made of one's own good one, for tests of one's own services.

They are those that the step `reject` offers. Nothing is sent.
"""

import argparse

from otelprobe.cli.jwt.inputs import add_secret, add_token


def add_parser(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "attack",
        help="make the bad tokens that a service must refuse of a good one",
        description="Make the bad tokens that a service must refuse of your own good one: each a line of its case and the "
        "token. Nothing is sent. What each case is stands in docs/cases.md.",
    )
    add_token(parser)
    parser.add_argument("--case", action="append", default=[], metavar="WORD", help="only this case (may be repeated)")
    parser.add_argument(
        "--public-key", metavar="FILE", help="the token's published key (PEM, JWK or key set): confusion cases"
    )
    parser.add_argument("--key", metavar="FILE", help="the key that signs the tokens: cases that are validly signed")
    add_secret(parser)
    parser.add_argument("--out", metavar="DIR", help="write each token to a file there, in place of standard output")
    parser.add_argument(
        "--output", choices=("text", "json"), default="text", help="form of what is printed (default: text)"
    )


def run(args: argparse.Namespace) -> int:
    """Make and print, or write."""
    from otelprobe.cli.jwt.forgeries import write_forgeries  # noqa: PLC0415 - the cases are many rooms

    return write_forgeries(args)
