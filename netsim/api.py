"""The verbs: load, parse, reach, matrix. Each is thin; the answers come from the layers below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netsim.errors import DEFAULT_LIMITS, Diagnostic, InputError, Limits, NetsimError, QuestionError
from netsim.parsers import parse as _parse
from netsim.parsers import parse_file as _parse_file
from netsim.parsers.ipset import parse_ipsets
from netsim.parsers.text import read_bytes
from netsim.queries.verdict import Decision, Rules
from netsim.rules.bind import Interfaces
from netsim.rules.model import Rule, RuleSet, Verdict
from netsim.source import Source
from netsim.space import EVERYTHING, NOTHING, Packet, PacketSet, packets
from netsim.space.fields import Family


def load(site: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> Any:
    """The network of a site folder (one with a `netsim.yaml`). Raises `InputError`."""
    from netsim.topology.site import load as load_site

    return load_site(site, limits=limits)


def parse(
    rules: str | Path,
    *,
    addresses: Interfaces | None = None,
    ipsets: str | Path | None = None,
    family: Family | None = None,
    backend: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Rules:
    """The rules of a file, or of a text that has more than one line.

    `addresses` are the device's own (`{"eth0": ["10.0.0.1/24"]}`), `ipsets` a file or text of
    `ipset save`. Raises `InputError` with every mistake, `ValueError` for what is no address.
    """
    if isinstance(rules, str) and "\n" in rules:
        ruleset = _parse(rules, family=family, backend=backend, limits=limits)
    else:
        ruleset = _parse_file(rules, family=family, backend=backend, limits=limits)
    sets = None
    if ipsets is not None:
        inline = isinstance(ipsets, str) and "\n" in ipsets
        data: str | bytes = str(ipsets) if inline else read_bytes(ipsets, limits)
        sets = parse_ipsets(data, file="" if inline else str(ipsets), limits=limits)
    return Rules(ruleset, addresses=addresses, sets=sets, limits=limits)


def load_index(path: str | Path, *, limits: Limits | None = None) -> Any:
    """The index that `Rules.save` or `Network.save` wrote: `classify` as they did, without compiling anything.

    The file is mapped, so that processes share its pages. Raises `ArtifactError` for what is no index, damaged, of
    another version, or made up.
    """
    from netsim.index.sitefile import load

    return load(path, limits)


def reach(network: Any, src: str, dst: str, traffic: Any = None, **more: Any) -> Any:
    """Whether `src` reaches `dst` in a network; see `netsim.queries.reach.reach`."""
    from netsim.queries.reach import reach as ask

    return ask(network, src, dst, traffic, **more)


def matrix(network: Any, ends: Any = None, traffic: Any = None, **more: Any) -> Any:
    """Who reaches whom by class of traffic, and nothing else; see `netsim.queries.matrix.matrix`."""
    from netsim.queries.matrix import matrix as ask

    return ask(network, ends, traffic, **more)


def compare(before: Any, after: Any, *, scope: PacketSet | str = EVERYTHING, **more: Any) -> Any:
    """What differs between two networks, two devices or two rule sets: complete, with both lines.

    A path stands for what it holds: a site's folder, or a file of rules. `scope` narrows the question to
    some packets, as a set or in words (`"dst 10.0.20.10 tcp/5432"`). Raises `QuestionError` for two things that cannot
    be compared, `InputError` for files that do not parse.
    """
    from netsim.queries.compare import compare_rules
    from netsim.queries.networks import compare_devices, compare_networks
    from netsim.queries.scope import parse_scope
    from netsim.topology.model import Device
    from netsim.topology.network import Network

    within = parse_scope(scope) if isinstance(scope, str) else scope
    one, two = _opened(before), _opened(after)
    if isinstance(one, Network) and isinstance(two, Network):
        return compare_networks(one, two, scope=within, **more)
    if isinstance(one, Device) and isinstance(two, Device):
        return compare_devices(one, two, scope=within)
    if isinstance(one, Rules | RuleSet) and isinstance(two, Rules | RuleSet):
        return compare_rules(one, two, scope=within)
    raise QuestionError.of(
        f"a {type(one).__name__} and a {type(two).__name__} cannot be compared", code="NS324",
        hint="give two networks, two devices or two rule sets, or their paths",
    )  # fmt: skip


def audit(what: Any, **more: Any) -> Any:
    """What is dead, redundant, too open or unknown in a network or a rule set (or at a path), with proofs."""
    from netsim.queries.audit import audit_network, audit_rules
    from netsim.topology.network import Network

    found = _opened(what)
    if isinstance(found, Network):
        return audit_network(found, **more)
    if isinstance(found, Rules | RuleSet):
        return audit_rules(found, **more)
    raise QuestionError.of(
        f"a {type(found).__name__} cannot be audited", code="NS324", hint="give a network or a rule set"
    )


def fix(network: Any, src: str, dst: str, traffic: Any = None, **more: Any) -> Any:
    """The fewest edited lines after which `src` reaches `dst`, or does not; see `netsim.queries.fix.fix`."""
    from netsim.queries.fix import fix as ask

    return ask(_opened(network), src, dst, traffic, **more)


def tidy(rules: Any, **more: Any) -> Any:
    """An equivalent smaller rule set (of a file, or of rules), proven equal; see `netsim.queries.tidy.tidy`."""
    from netsim.queries.tidy import tidy as ask

    return ask(_opened(rules), **more)


def _opened(what: Any) -> Any:
    """What a path holds; anything else as it is."""
    if isinstance(what, str | Path):
        return load(what) if Path(what).is_dir() else parse(what)
    return what


def from_graph(graph: Any) -> Any:
    """The network of a networkx graph; see `netsim.topology.graph` for its attributes."""
    from netsim.topology.graph import from_graph as convert

    return convert(graph)


__all__ = [
    "EVERYTHING",
    "NOTHING",
    "Decision",
    "Diagnostic",
    "Family",
    "InputError",
    "Limits",
    "NetsimError",
    "Packet",
    "PacketSet",
    "QuestionError",
    "Rule",
    "RuleSet",
    "Rules",
    "Source",
    "Verdict",
    "audit",
    "compare",
    "fix",
    "from_graph",
    "load",
    "load_index",
    "matrix",
    "packets",
    "parse",
    "reach",
    "tidy",
]
