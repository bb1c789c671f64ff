"""Rule lists as columns, and a seeded generator of lists as sites grow them.

A generated list is one site's border: blocklists of outside prefixes, wide and narrow; services on hosts, for subnets,
for the whole site or for everybody; answers of services; management; port ranges between subnets; subnets kept
apart. Broad rules lie before and behind narrow ones, and 2 % repeat an earlier rule, some with the other action.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import attrs
import netaddr
import numpy as np
from numpy.typing import NDArray

from netsim.index.rows import INTERVALS, Rows
from netsim.rules.model import ACCEPT, DROP, Bits, Condition, In, Rule, RuleSet
from netsim.source import Source

U64 = NDArray[np.uint64]
Bounds = dict[str, tuple[U64, U64]]
FOUR = ("src4", "dst4", "sport", "dport", "protocol")
SIX = ("src6.high", "src6.low", "dst6.high", "dst6.low", "sport", "dport", "protocol")
FIELDS_IN_ORDER = ("src4", "dst4", "src6", "dst6", "protocol", "sport", "dport")
WHOLE = (1 << 64) - 1


@attrs.frozen(eq=False)
class List:
    """A list as columns of inclusive bounds and of (care, value) words, with the rows that deny."""

    name: str
    low: dict[str, U64]
    high: dict[str, U64]
    deny: NDArray[np.bool_]
    care: dict[str, U64] = attrs.field(factory=dict)
    value: dict[str, U64] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.deny)

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.low, *self.care)

    @property
    def rows(self) -> Rows:
        return Rows(self.low, self.high, np.arange(len(self), dtype=np.int32), self.care, self.value)

    def rules(self) -> RuleSet:
        """The list as one chain of rules."""
        fields = [(f, INTERVALS[f], *self._whole(f)) for f in FIELDS_IN_ORDER if f in self.low]
        for f in ("src6", "dst6"):
            if f + ".high" in self.low:
                fields.append((f, (1 << 128) - 1, *self._whole(f)))
        fields.sort(key=lambda f: FIELDS_IN_ORDER.index(f[0]))
        flags = [(f, care.tolist(), self.value[f].tolist()) for f, care in self.care.items()]
        found = []
        for i, deny in enumerate(self.deny.tolist()):
            conditions: list[Condition] = [
                In(field, ((low[i], high[i]),))
                for field, top, low, high in fields
                if low[i] or high[i] != top
            ]
            conditions += [Bits(field, care[i], value[i]) for field, care, value in flags if care[i]]
            found.append(Rule(tuple(conditions), DROP if deny else ACCEPT, source=Source(self.name, i + 1)))
        return RuleSet.of(found)

    def _whole(self, field: str) -> tuple[list[int], list[int]]:
        """The bounds of a field as integers; those of 128 bits from their halves."""
        if field in self.low:
            return self.low[field].tolist(), self.high[field].tolist()
        halves = [
            (side[field + ".high"].tolist(), side[field + ".low"].tolist()) for side in (self.low, self.high)
        ]
        low, high = ([a << 64 | b for a, b in zip(*half, strict=True)] for half in halves)
        return low, high


def scan(given: List, trace: dict[str, Any], count: int) -> NDArray[np.int64]:
    """The first row of the first `count` records, one rule after another: what every classifier is held to."""
    found = np.full(count, -1)
    for i in range(len(given) - 1, -1, -1):
        inside = np.ones(count, np.bool_)
        for c in given.low:
            inside &= (trace[c][:count] >= given.low[c][i]) & (trace[c][:count] <= given.high[c][i])
        for c in given.care:
            inside &= trace[c][:count] & given.care[c][i] == given.value[c][i]
        found[inside] = i
    return found


@attrs.frozen
class _Site:
    """Addresses of a site: as many subnets as its list needs. All draws are columns of bounds."""

    family: int
    subnets: int
    rng: np.random.Generator

    def _prefix(self, value: U64, length: NDArray[np.int64], lower: U64 | None = None) -> tuple[U64, ...]:
        """Bounds of prefixes. IPv6: `value` is the upper half, `lower` the lower one of an address."""
        width = 32 if self.family == 4 else 64
        host = (np.uint64(1) << (width - length).astype(np.uint64)) - np.uint64(1)
        if self.family == 6:
            host[length == 0] = WHOLE
        low = value & ~host
        if self.family == 4:
            return low, low | host
        if lower is None:
            return low, low | host, np.zeros_like(low), np.full_like(low, WHOLE)
        return low, low | host, lower, lower

    def subnet(self, n: int) -> tuple[U64, ...]:
        """Subnets of the site, /24 or /64; a few hold several."""
        which = self.rng.integers(0, self.subnets, n, dtype=np.uint64)
        longer = self.rng.choice((0, 0, 0, 0, 2, 4), n)
        if self.family == 4:
            return self._prefix(np.uint64(10 << 24) | which << np.uint64(8), 24 - longer)
        return self._prefix(np.uint64(0x2001_0DB8 << 32) | which, 64 - longer)

    def host(self, n: int) -> tuple[U64, ...]:
        """Hosts; low numbers are the popular ones."""
        which = self.rng.integers(0, self.subnets, n, dtype=np.uint64)
        number = (self.rng.exponential(12, n).astype(np.uint64) + np.uint64(1)) % np.uint64(250)
        if self.family == 4:
            return self._prefix(np.uint64(10 << 24) | which << np.uint64(8) | number, np.full(n, 32))
        return self._prefix(np.uint64(0x2001_0DB8 << 32) | which, np.full(n, 64), number)

    def site(self, n: int) -> tuple[U64, ...]:
        """The whole site, or the part that one building has."""
        which = self.rng.integers(0, self.subnets, n, dtype=np.uint64)
        length = self.rng.choice((8, 16, 18, 20), n)
        if self.family == 4:
            return self._prefix(np.uint64(10 << 24) | which << np.uint64(8), length)
        return self._prefix(np.uint64(0x2001_0DB8 << 32) | which, length + 40 - 8 * (length == 8))

    def outside(self, n: int, short: bool = False) -> tuple[U64, ...]:
        """Prefixes of the internet; `short` ones as blocklists of whole providers have them."""
        if self.family == 4:
            value = self.rng.integers(11 << 24, 224 << 24, n, dtype=np.uint64)
            length = self.rng.choice(
                (8, 10, 12, 14, 16) if short else (16, 19, 20, 22, 24, 24, 24, 32, 32), n
            )
        else:
            value = np.uint64(0x2002 << 48) + self.rng.integers(0, 0x1FFD << 48, n, dtype=np.uint64)
            length = self.rng.choice((12, 16, 20, 24) if short else (29, 32, 32, 40, 48, 48, 56, 64), n)
        return self._prefix(value, length)

    def anywhere(self, n: int) -> tuple[U64, ...]:
        return self._prefix(np.zeros(n, np.uint64), np.zeros(n, np.int64))

    def mixed(self, n: int, **shares: float) -> tuple[U64, ...]:
        """Kinds of addresses by their shares."""
        kind = self.rng.choice(len(shares), n, p=np.array(list(shares.values())) / sum(shares.values()))
        drawn = [getattr(self, name)(n) for name in shares]
        return tuple(np.choose(kind, [d[i] for d in drawn]) for i in range(len(drawn[0])))


SERVICES = np.array(
    [80, 443, 443, 22, 25, 53, 123, 389, 636, 993, 1433, 1521, 3306, 5432, 5432, 6379, 8080, 8443, 9092, 9200]
)
RANGES = np.array(
    [(1024, 65535), (8000, 8099), (6000, 6063), (49152, 65535), (135, 139), (30000, 32767), (0, 1023)]
)
KINDS = {"services": 0.5, "blocklist": 0.13, "wide blocklist": 0.02, "answers": 0.1, "ranges": 0.1, "apart": 0.1, "management": 0.05}  # fmt: skip


@lru_cache(maxsize=4)
def generate(count: int, *, family: int = 4, seed: int = 1, closed: bool = False) -> List:
    """A list of `count` rules for one family (4 or 6). `closed`: the last rule denies whatever is left."""
    rng = np.random.default_rng((seed, family, count))
    site = _Site(family, min(1 << 16, max(8, count // 8)), rng)
    n = count
    broad = min(
        1.0, 300 / n
    )  # however long a list is, whole providers and whole sites are named a few hundred times
    shares = KINDS | {"wide blocklist": KINDS["wide blocklist"] * broad}
    kind = rng.choice(len(KINDS), n, p=np.array(list(shares.values())) / sum(shares.values()))
    # Blocklists come first, then what is kept apart and all that is open, in the order in which it was asked for.
    place = rng.random(n) + np.where(np.isin(kind, (1, 2)), -0.7, 0)
    kind = kind[np.argsort(place, kind="stable")]

    def mixed(subnet: float, whole: float, outside: float, anywhere: float) -> tuple[U64, ...]:
        return site.mixed(n, subnet=subnet, site=whole * broad, outside=outside, anywhere=anywhere * broad)

    servers = site.host(max(4, n // 12))
    of = rng.integers(0, len(servers[0]), n)
    server = tuple(bound[of] for bound in servers)
    clients = mixed(6, 2, 1, 1)
    sources = [
        clients,
        site.outside(n),
        site.outside(n, short=True),
        server,
        site.subnet(n),
        site.subnet(n),
        site.host(n),
    ]
    targets = [
        server,
        site.anywhere(n),
        site.anywhere(n),
        clients,
        mixed(4, 1, 1, 1),
        mixed(8, 1, 0, 0),
        mixed(4, 4, 0, 0),
    ]
    service = rng.choice(SERVICES, len(servers[0]))[of]
    span = RANGES[rng.integers(0, len(RANGES), n)]
    nothing, everything = np.zeros(n, np.int64), np.full(n, 65535)
    management = rng.choice((22, 161, 3389), n)
    spans = {
        "sport": ((nothing, everything), (nothing, everything), (nothing, everything), (service, service),
                  (nothing, everything), (nothing, everything), (nothing, everything)),
        "dport": ((service, service), (nothing, everything), (nothing, everything), (nothing + 1024, everything),
                  (span[:, 0], span[:, 1]), (nothing, everything), (management, management)),
    }  # fmt: skip
    protocol = np.where(np.isin(service, (53, 123)) | (rng.random(n) < 0.05), 17, 6)
    any_protocol = np.isin(kind, (1, 2, 5))
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    for side, drawn in (("src", sources), ("dst", targets)):
        names = [side + "4"] if family == 4 else [side + "6.high", side + "6.low"]
        for i, name in enumerate(names):
            low[name] = np.choose(kind, [d[2 * i] for d in drawn])
            high[name] = np.choose(kind, [d[2 * i + 1] for d in drawn])
    for name, pairs in spans.items():
        low[name] = np.choose(kind, [a for a, _ in pairs])
        high[name] = np.choose(kind, [b for _, b in pairs])
    low["protocol"] = np.where(any_protocol, 0, protocol)
    high["protocol"] = np.where(any_protocol, 255, protocol)
    deny = any_protocol | (rng.random(n) < 0.02)
    again = np.flatnonzero(rng.random(n) < 0.02)
    again = again[again > 0]
    origin = (rng.random(len(again)) * again).astype(np.int64)
    order = FOUR if family == 4 else SIX
    for bound in (low, high):
        for name in order:
            values = np.ascontiguousarray(bound[name], np.uint64)
            values[again] = values[origin]
            if closed:
                values[-1] = 0 if bound is low else INTERVALS[name]
            bound[name] = values
    deny[again] = deny[origin] ^ (rng.random(len(again)) < 0.3)
    if closed:
        deny[-1] = True
    name = f"site{family}_{count // 1000}k" if count >= 1000 else f"site{family}_{count}"
    return List(name, {c: low[c] for c in order}, {c: high[c] for c in order}, deny)


def named(name: str) -> List:
    """A generated list by its name, such as `site6_10k`."""
    kind, _, size = name.partition("_")
    return generate(int(size.replace("k", "000")), family=int(kind[-1]))


def listed(name: str) -> List:
    """A generated list or one of ClassBench's by its name."""
    from benchmarks import classbench

    return named(name) if name.startswith("site") else classbench.load(name)


def iptables(given: List) -> str:
    """A generated list of one family as `iptables-save` (or `ip6tables-save`) prints it."""
    rules = List.rules(given)
    words = {"protocol": "-p", "sport": "--sport", "dport": "--dport"}
    lines = ["*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]"]
    for rule in rules.rules():
        line = ["-A FORWARD"]
        for condition in rule.conditions:
            assert isinstance(condition, In)
            low, high = condition.ranges[0]
            name = condition.field
            if name in words:
                line.append(f"{words[name]} {low}" if low == high else f"{words[name]} {low}:{high}")
            else:
                width = 32 if name.endswith("4") else 128
                address = str(netaddr.IPAddress(low, 4 if width == 32 else 6))
                line.append(f"-{name[0]} {address}/{width - (high - low).bit_length()}")
        lines.append(" ".join([*line, "-j", rule.action.kind.value.upper()]))
    return "\n".join([*lines, "COMMIT", ""])
