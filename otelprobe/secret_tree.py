"""Bodies of requests with secrets anywhere inside: `{env: NAME}` and `{file: PATH}` at any depth stand for a secret.

A leaf room. The tree keeps references only, so it may be printed; `resolve` reads the secrets at the moment of use.
"""

from collections.abc import Iterator
from typing import Annotated

from otelprobe.fields import Scalar, SecretRef, literal_secrets


def parse_secret_tree(value: object) -> object:
    """Replace every mapping that is exactly `{env: text}` or `{file: text}` by a SecretRef; the rest is copied."""
    if isinstance(value, dict):
        if len(value) == 1 and (value.keys() & {"env", "file"}):
            ((key, source),) = value.items()
            if source == "" or source is None:
                raise ValueError(f"a secret without its source: write {{{key}: {'NAME' if key == 'env' else 'PATH'}}}")
            if isinstance(source, str):
                return SecretRef(**{key: source})
        return {key: parse_secret_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [parse_secret_tree(item) for item in value]
    return value


def resolve(tree: object) -> object:
    """Give the tree with every secret read; CheckFailed(secret_missing) if one cannot be. Never log what this gives.

    Fill `${name}` before, not after, so that a secret which contains `${` stays as it is.
    """
    if isinstance(tree, SecretRef):
        return tree.read()
    if isinstance(tree, dict):
        return {key: resolve(item) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return [resolve(item) for item in tree]
    return tree


def secrets_in(tree: object) -> tuple[SecretRef, ...]:
    """Give every secret of a tree, in order."""
    return tuple(_walk(tree))


def _walk(tree: object) -> Iterator[SecretRef]:
    if isinstance(tree, SecretRef):
        yield tree
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from _walk(item)
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from _walk(item)


def literals_in(tree: object) -> Iterator[str]:
    """Give the names of secrets that are written out, at any depth."""
    if isinstance(tree, dict):
        yield from literal_secrets(tree)
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for item in tree:
            yield from literals_in(item)


def as_form(tree: object) -> dict[str, str] | None:
    """Give the fields of a form as they are sent, from a tree whose secrets were read; None for what is no mapping."""
    if not isinstance(tree, dict):
        return None
    return {str(k): str(v).lower() if isinstance(v, bool) else str(v) for k, v in tree.items()}


def body_faults(json: object, form: object) -> Iterator[tuple[str, str]]:
    """Say what must not stand in a request's body: pairs of member and mend."""
    if form is not None and not isinstance(form, dict):
        yield "form", "form is a mapping of field to value"
    for member, tree in (("json", json), ("form", form)):
        for name in literals_in(tree):
            yield member, f"{name}: a literal secret is refused: write {{env: NAME}} or {{file: PATH}}"


SECRET_TREE = Scalar(parse_secret_tree)
SecretTree = Annotated[object, SECRET_TREE]
"""Any JSON value in which `{env: NAME}` and `{file: PATH}` are secrets."""
