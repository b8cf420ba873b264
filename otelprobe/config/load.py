"""Flow files to one Config: files and directories read, decoded, merged by name, references checked."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from otelprobe.audit.settings import Audit
from otelprobe.config.decode import decode
from otelprobe.config.document import Document, read_document
from otelprobe.config.faults import ConfigError, Fault, nearest
from otelprobe.config.models import Config, FlowFile, Place, Telemetry
from otelprobe.provider import Provider

SUFFIXES = frozenset({".yaml", ".yml"})


def load(paths: Sequence[Path]) -> Config:
    """Read flow files and directories of them into one Config; ConfigError lists every fault of all of them."""
    faults: list[Fault] = []
    documents = list(_documents(paths, faults))
    files = [_decode(document, faults) for document in documents]
    places = {section: _places(documents, section, faults) for section in ("providers", "flows")}
    faults.extend(_reference_faults(places["flows"], places["providers"], known_all=not faults))
    telemetry_place = _only_place(documents, "telemetry", faults)
    audit_place = _only_place(documents, "audit", faults)
    if not faults and not places["flows"]:
        file = documents[0].file if documents else str(paths[0]) if paths else ""
        faults.append(Fault(file, None, "", "no flows: add flows: with at least one flow"))
    if faults:
        raise ConfigError(faults)
    good = [file for file in files if file is not None]
    return Config(
        providers={name: _filled(provider) for file in good for name, provider in file.providers.items()},
        flows=tuple(flow for file in good for flow in file.flows),
        telemetry=next((file.telemetry for file in good if file.telemetry is not None), Telemetry()),
        flow_places=places["flows"],
        provider_places=places["providers"],
        audit=next((file.audit for file in good if file.audit is not None), Audit()),
        telemetry_place=telemetry_place,
        audit_place=audit_place,
    )


def _only_place(documents: Sequence[Document], member: str, faults: list[Fault]) -> Place | None:
    """Find a block that may stand in one file only."""
    places = [Place(d, (member,)) for d in documents if _member(d, member) is not None]
    faults.extend(extra.fault((), f"{member} stands already in {_spot(places[0])}: keep one") for extra in places[1:])
    return places[0] if places else None


def _filled(provider: Provider) -> Provider:
    """Fill in what the provider's preset knows."""
    if provider.preset == "generic":
        return provider
    from otelprobe.presets import filled  # noqa: PLC0415 - only providers with a preset need it

    return filled(provider)


def _documents(paths: Sequence[Path], faults: list[Fault]) -> Iterator[Document]:
    """Read every file that is named, or lies in a directory that is named, once."""
    if not paths:
        faults.append(Fault("", None, "", "no flow file is named: give a file or a directory"))
    seen: set[Path] = set()
    for path in paths:
        for file in _files(path, faults):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            try:
                yield read_document(file)
            except ConfigError as error:
                faults.extend(error.faults)


def _files(path: Path, faults: list[Fault]) -> list[Path]:
    """List a directory's flow files by name, or give the file itself.

    Dotted entries are left out: in a mounted ConfigMap the files are links into `..data`, which is not to be read twice.
    """
    if not path.is_dir():
        return [path]
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        faults.append(Fault(str(path), None, "", f"cannot be listed: {error.strerror}"))
        return []
    found = [e for e in entries if e.suffix in SUFFIXES and not e.name.startswith(".") and e.is_file()]
    if not found:
        faults.append(Fault(str(path), None, "", "no *.yaml or *.yml file in this directory"))
    return found


def _decode(document: Document, faults: list[Fault]) -> FlowFile | None:
    faults.extend(document.faults)
    tree = document.tree
    if tree is None:
        tree = {}
    elif isinstance(tree, dict):
        # As in Compose files: a place for anchors that several flows share.
        tree = {key: value for key, value in tree.items() if not key.startswith("x-")}
    return decode(FlowFile, tree, lambda path, message: faults.append(document.fault(path, message)))


def _member(document: Document, name: str) -> object:
    return document.tree.get(name) if isinstance(document.tree, dict) else None


def _places(documents: Sequence[Document], section: str, faults: list[Fault]) -> Mapping[str, Place]:
    """Find every named thing of a section, in the trees as written, so that a fault elsewhere hides no duplicate."""
    places: dict[str, Place] = {}
    for document in documents:
        for name, place in _named(document, section):
            if name in places:
                message = f"a second one of this name; the first is in {_spot(places[name])}: rename or remove one"
                faults.append(place.fault(("name",) if section == "flows" else (), message))
            else:
                places[name] = place
    return places


def _named(document: Document, section: str) -> Iterator[tuple[str, Place]]:
    members = _member(document, section)
    if isinstance(members, dict):
        yield from ((name, Place(document, (section, name))) for name in members)
    elif isinstance(members, list):
        for index, flow in enumerate(members):
            name = flow.get("name") if isinstance(flow, dict) else None
            if isinstance(name, str):
                yield name, Place(document, (section, index))


def _spot(place: Place) -> str:
    return f"{place.document.file}:{place.document.line(place.path)}"


def _reference_faults(
    flows: Mapping[str, Place], providers: Mapping[str, Place], *, known_all: bool
) -> Iterator[Fault]:
    """Find flows whose provider is nowhere. Where a file could not be read, a provider may be in there: say nothing."""
    for place in flows.values():
        tree = place.document.tree
        flow = tree["flows"][place.path[1]] if isinstance(tree, dict) else {}
        wanted = flow.get("provider")
        if isinstance(wanted, str) and wanted not in providers and (known_all or providers):
            near = nearest(wanted, providers)
            mend = f"did you mean {near}?" if near else f"define it under providers: ({_listed(providers)})"
            yield place.fault(("provider",), f"no such provider; {mend}")


def _listed(providers: Mapping[str, Place]) -> str:
    return f"there are {', '.join(sorted(providers))}" if providers else "there are none"
