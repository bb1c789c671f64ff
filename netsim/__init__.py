r"""netsim: ask a network's firewalls a question and get a proof, not a guess.

    >>> import netsim
    >>> rules = netsim.parse("*filter\\n:FORWARD DROP\\n-A FORWARD -p tcp --dport 80 -j ACCEPT\\nCOMMIT\\n")
    >>> packet = netsim.Packet(src="10.0.0.1", dst="10.0.0.2", protocol="tcp", sport=40000, dport=80)
    >>> rules.decide(packet).verdict
    <Verdict.ACCEPT: 'accept'>

The names below load on first use, so that importing netsim costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netsim.api import (
        EVERYTHING,
        NOTHING,
        Decision,
        Diagnostic,
        Family,
        InputError,
        Limits,
        NetsimError,
        Packet,
        PacketSet,
        QuestionError,
        Rule,
        Rules,
        RuleSet,
        Source,
        Verdict,
        audit,
        compare,
        fix,
        from_graph,
        load,
        load_index,
        matrix,
        packets,
        parse,
        reach,
        tidy,
    )
    from netsim.index.artifact import SavedIndex
    from netsim.index.classification import Classification
    from netsim.index.container import ArtifactError
    from netsim.queries.audit import Audit
    from netsim.queries.compare import Comparison
    from netsim.queries.fix import Fix, FixStatus
    from netsim.queries.matrix import Matrix
    from netsim.queries.reach import Reachability, Status
    from netsim.topology.network import Network

__version__ = "0.1.0"

_ELSEWHERE = {
    "ArtifactError": "netsim.index.container",
    "Audit": "netsim.queries.audit",
    "Classification": "netsim.index.classification",
    "Comparison": "netsim.queries.compare",
    "Fix": "netsim.queries.fix",
    "FixStatus": "netsim.queries.fix",
    "Matrix": "netsim.queries.matrix",
    "Network": "netsim.topology.network",
    "Reachability": "netsim.queries.reach",
    "SavedIndex": "netsim.index.artifact",
    "Status": "netsim.queries.reach",
}

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "ArtifactError",
    "Audit",
    "Classification",
    "Comparison",
    "Decision",
    "Diagnostic",
    "Family",
    "Fix",
    "FixStatus",
    "InputError",
    "Limits",
    "Matrix",
    "NetsimError",
    "Network",
    "Packet",
    "PacketSet",
    "QuestionError",
    "Reachability",
    "Rule",
    "RuleSet",
    "Rules",
    "SavedIndex",
    "Source",
    "Status",
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'netsim' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_ELSEWHERE.get(name, "netsim.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
