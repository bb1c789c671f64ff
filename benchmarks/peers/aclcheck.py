"""aerleon's aclcheck (`pip install aerleon`): a policy of terms, asked about one packet after another.

The terms are filled in without its parser, so that nothing but the check is timed. It takes port 0 for any port.
"""

from __future__ import annotations

from typing import Any

import netaddr
import numpy as np
from numpy.typing import NDArray

from benchmarks.lists import List
from benchmarks.peers import Missing
from benchmarks.traces import Trace

POLICY = """
header {
  target:: cisco list extended
}
term one {
  action:: accept
}
"""


class Aclcheck:
    """Every rule a term."""

    name = "aclcheck"
    records = 20

    def __init__(self, given: List) -> None:
        try:
            from aerleon.lib import aclcheck, nacaddr, naming, policy
        except ImportError:
            raise Missing("aerleon is not installed") from None
        if "src4" not in given.low or given.care:
            raise Missing("the terms for aclcheck have five fields and IPv4")
        self.check: Any = aclcheck.AclCheck
        self.policy: Any = policy.ParsePolicy(POLICY, naming.Naming())
        _, terms = self.policy.filters[0]
        terms.clear()
        columns = (bound[c].tolist() for c in given.low for bound in (given.low, given.high))
        for i, (a, b, c, d, *ports, first, last) in enumerate(zip(*columns, strict=True)):
            term: Any = policy.Term([])
            term.name, term.action = str(i), ["accept"]
            for name, low, high in (("source_address", a, b), ("destination_address", c, d)):
                network = netaddr.cidr_merge([netaddr.IPRange(low, high)])[0]
                setattr(term, name, [] if high - low == 2**32 - 1 else [nacaddr.IP(str(network))])
            for name, low, high in (("source_port", *ports[:2]), ("destination_port", *ports[2:])):
                setattr(term, name, [] if (low, high) == (0, 65535) else [(low, high)])
            term.protocol = [str(first)] if first == last else []
            terms.append(term)

    def prepare(self, trace: Trace) -> None:
        ported = np.flatnonzero((trace["sport"] > 0) & (trace["dport"] > 0))[: self.records]
        self.places = ported
        columns = [trace[c][ported].tolist() for c in ("src4", "dst4", "sport", "dport", "protocol")]
        self.packets = [
            (str(netaddr.IPAddress(s, 4)), str(netaddr.IPAddress(d, 4)), a, b, str(p))
            for s, d, a, b, p in zip(*columns, strict=True)
        ]

    def classify(self) -> NDArray[Any]:
        found = []
        for src, dst, sport, dport, protocol in self.packets:
            exact = self.check(self.policy, src, dst, sport, dport, protocol).ExactMatches()
            found.append(int(exact[0].term) if exact else -1)
        return np.array(found)
