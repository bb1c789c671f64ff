"""Who reaches whom, by class of traffic, and nothing else: all ordered pairs of ends at once.

Algebra. A cell is the answer of `reach` for one source, one destination and one class: the same status,
the same four disjoint sets. Beside the classes each pair has a cell for *anything else*, all protocols
and ports that no class covers: TCP, UDP and echo requests with the answers that they provoke, everything
else in one direction, from every source port. Where that cell is blocked, "and nothing else" is proven.

The pair of an end and itself is asked as `reach` asks it: the instances of a service, the end systems of a
zone among themselves. What stays on a link passes no firewall, so `leaks` and `doubts` judge different ends only.

Where nothing can be asked, a cell's status is None and its sets are empty: an end without addresses, two
ends without a family in common, a host or a device and itself. No ends, no cells; all statements
about the cells of no ends hold.

Costs. One trace for a batch of sources to all targets and for all classes (`sheets`), not one for each
pair; a cell's sets are cut out of the trace's answer when they are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import attrs

from netsim.display import Displayed, Document
from netsim.errors import DEFAULT_LIMITS, Limits, QuestionError, near_misses
from netsim.queries.reach import (
    Reachability,
    SourceShare,
    Status,
    cut_off,
    ends_of,
    not_asked,
    reach,
    service_traffic,
    share_of,
    status_of,
)
from netsim.queries.sheets import (
    ALLOWED,
    BLOCKED,
    SPLIT,
    UNKNOWN,
    Answers,
    End,
    Progress,
    answer,
    ends_by_name,
)
from netsim.queries.traffic import EPHEMERAL, Traffic, TrafficLike, beyond, for_family, parse_traffic
from netsim.space.fields import Family, Range
from netsim.space.packets import EVERYTHING, NOTHING, PacketSet
from netsim.topology.model import Assumption
from netsim.topology.network import Network, register

ANYTHING_ELSE = "anything else"
KINDS = ("services", "hosts", "zones")
_NAMES = {"allowed": ALLOWED, "blocked": BLOCKED, "split": SPLIT, "unknown": UNKNOWN}

Sets = tuple[PacketSet, PacketSet, PacketSet, PacketSet, PacketSet]


@attrs.frozen(slots=True, eq=False)
class _Table:
    """What the cells of one matrix share."""

    network: Network
    ends: dict[str, End]
    columns: tuple[tuple[str, tuple[Traffic, ...]], ...]
    answers: Answers
    options: dict[str, Any]

    def sets(self, src: str, dst: str, column: int, only: str = "") -> Sets:
        """Asked, allowed, blocked, split and unknown; of one source, if `only` is its key."""
        asked = allowed = blocked = split = NOTHING
        for key, source in self.ends[src].members.items():
            if only not in ("", key):
                continue
            others = self.network.others(source, self.ends[dst].instances)
            for family in Family:
                base = ends_of("src", (source,), family) & ends_of("dst", others, family)
                for j, traffic in enumerate(self.columns[column][1]) if base else ():
                    mine = base & for_family(traffic, family).opening
                    if not mine:
                        continue
                    asked |= mine
                    for sheet in self.answers.sheets:
                        if (
                            sheet.family is family
                            and key in sheet.sources
                            and dst in sheet.targets
                            and (column, j) in sheet.classes
                        ):
                            allowed |= mine & sheet.allowed
                            blocked |= mine & sheet.blocked
                            split |= mine & sheet.split
        return asked, allowed, blocked, split, asked - allowed - blocked - split


@attrs.frozen(slots=True, eq=False)
class Cell(Displayed):
    """One source, one destination, one class of traffic.

    `status` is None where nothing can be asked. `occurs` names those of allowed, blocked, split and
    unknown that are not empty. The sets are computed when they are first looked at.
    """

    src: str
    dst: str
    traffic: str
    status: Status | None
    occurs: frozenset[str]
    _column: int = attrs.field(repr=False)
    _table: _Table = attrs.field(repr=False)

    def __bool__(self) -> bool:
        raise TypeError("a Cell is neither true nor false; compare .status, or test one of its sets")

    @cached_property
    def _sets(self) -> Sets:
        return self._table.sets(self.src, self.dst, self._column)

    @property
    def classes(self) -> tuple[Traffic, ...]:
        """The classes of its column."""
        return self._table.columns[self._column][1]

    @property
    def asked(self) -> PacketSet:
        """The packets that were asked about."""
        return self._sets[0]

    @property
    def allowed(self) -> PacketSet:
        """Those that get through on every path, for certain."""
        return self._sets[1]

    @property
    def blocked(self) -> PacketSet:
        """Those that get through on no path, for certain."""
        return self._sets[2]

    @property
    def split(self) -> PacketSet:
        """Those that get through on some paths, for certain."""
        return self._sets[3]

    @property
    def unknown(self) -> PacketSet:
        """Those of which something unmodelled decides."""
        return self._sets[4]

    @cached_property
    def sources(self) -> tuple[SourceShare, ...]:
        """The sources of which something is asked, and what becomes of their packets."""
        found = []
        for key, i in self._table.ends[self.src].members.items():
            asked, allowed, blocked, split, _ = self._table.sets(self.src, self.dst, self._column, key)
            if asked:
                status = status_of(asked, allowed, blocked, split)
                found.append(SourceShare(i.name, status, i.weight, asked, cut_off(asked, blocked)))
        return tuple(found)

    @property
    def share(self) -> Fraction:
        """The part of the sources for which not everything is allowed: by weight, of one by addresses."""
        if self.status in (None, Status.ALLOWED):
            return Fraction(0)
        if self.status is Status.BLOCKED:
            return Fraction(1)
        return share_of(self.asked - self.allowed, self.sources)

    def reach(self) -> Reachability:
        """The whole answer, with the lines that block, paths and witnesses. Raises where nothing is asked."""
        table = self._table
        found: Reachability = reach(table.network, self.src, self.dst, self.classes, **table.options)
        return found

    def row(self) -> dict[str, Any]:
        """The cell as a plain row."""
        return {
            "src": self.src,
            "dst": self.dst,
            "traffic": self.traffic,
            "beyond": self.traffic == ANYTHING_ELSE,
            "status": None if self.status is None else self.status.value,
            "share": None if self.status is None else float(self.share),
            **{name: name in self.occurs for name in _NAMES},
        }

    def document(self) -> Document:
        """The status and the sets."""
        from netsim.queries.matrix_show import cell_document

        return cell_document(self)


@attrs.frozen(slots=True, eq=False)
class Matrix(Displayed):
    """The answer of `matrix`. `bool` of it raises: look at `cells`, `leaks` or `doubts`.

    `cells` holds every ordered pair of `ends` for every class of `traffic`, `beyond` every ordered pair for
    anything else; both by source, then destination.
    """

    ends: tuple[str, ...]
    traffic: tuple[str, ...]
    cells: tuple[Cell, ...] = attrs.field(repr=False)
    beyond: tuple[Cell, ...] = attrs.field(repr=False)
    assumptions: tuple[Assumption, ...] = attrs.field(repr=False)

    def __bool__(self) -> bool:
        raise TypeError("a Matrix is neither true nor false; look at .cells, or test .leaks and .doubts")

    @property
    def answers(self) -> Answers:
        """What the cells are cut out of: the sets for all pairs together."""
        every = (*self.cells, *self.beyond)
        return every[0]._table.answers if every else Answers()

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str], Cell]:
        return {(c.src, c.dst, c.traffic): c for c in (*self.cells, *self.beyond)}

    def cell(self, src: str, dst: str, traffic: str | None = None) -> Cell:
        """One cell; the class may be left out if there is one. Raises `QuestionError` if there is none."""
        if traffic is None and len(self.traffic) == 1:
            traffic = self.traffic[0]
        found = self._by_name.get((src, dst, traffic or ""))
        if found is not None:
            return found
        for name in (src, dst):
            if name not in self.ends:
                hint = near_misses(name, self.ends)
                raise QuestionError.of(f"no end {name[:60]!r} in this matrix", code="NS313", hint=hint)
        known = (*self.traffic, ANYTHING_ELSE)
        what = "which traffic?" if traffic is None else f"no traffic {traffic[:60]!r} in this matrix"
        hint = near_misses(traffic or "", known) or f"it has {', '.join(known[:6])}"
        raise QuestionError.of(what, code="NS313", hint=hint)

    def rest(self, src: str, dst: str) -> Cell:
        """What gets from one end to another beyond the classes."""
        return self.cell(src, dst, ANYTHING_ELSE)

    @property
    def leaks(self) -> tuple[Cell, ...]:
        """The pairs of different ends with something beyond the classes that gets through for certain."""
        return tuple(c for c in self.beyond if c.src != c.dst and c.occurs & {"allowed", "split"})

    @property
    def doubts(self) -> tuple[Cell, ...]:
        """The pairs of different ends where it is unknown whether something beyond the classes gets through, and no more."""
        undecided = [c for c in self.beyond if c.src != c.dst and "unknown" in c.occurs]
        return tuple(c for c in undecided if not c.occurs & {"allowed", "split"})

    COLUMNS = ("src", "dst", "traffic", "beyond", "status", "share", *_NAMES)
    """The keys of `rows()` and the columns of `frame()`."""

    def rows(self) -> list[dict[str, Any]]:
        """The cells as plain rows, those for anything else last."""
        return [c.row() for c in (*self.cells, *self.beyond)]

    def frame(self) -> Any:
        """The rows as a pandas frame; it has its columns also when it is empty. Needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(self.rows(), self.COLUMNS)

    def document(self) -> Document:
        """Each class: a grid for up to twelve ends, else who reaches whom; then what gets through beside."""
        from netsim.queries.matrix_show import matrix_document

        return matrix_document(self)


def matrix(
    network: Network,
    ends: str | Iterable[str] | None = None,
    traffic: TrafficLike | Iterable[TrafficLike] | None = None,
    *,
    source_ports: Range | None = None,
    within: PacketSet = EVERYTHING,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> Matrix:
    """Every ordered pair of ends by class of traffic, and whether anything else gets through.

    `ends`: `"services"`, `"hosts"`, `"zones"`, or names and prefixes as `reach` takes them; without them the
    services of the site, else its zones. `traffic`: classes as `reach` takes them, each a column; without them
    the ports of the site's services, else tcp, udp and icmp. Only packets of `within` are asked about.
    `progress(done, total)` is called in between.
    Raises `QuestionError` for what is not there.
    """
    source_ports = source_ports or network.source_ports or EPHEMERAL
    low, high = source_ports
    if not 0 <= low <= high <= 65535:
        raise QuestionError.of(f"source ports {low}-{high} are not within 0-65535", code="NS311")
    names = _ends(network, ends)
    found = ends_by_name(network, names)
    classes = _columns(network, traffic, source_ports)
    listed = [t for _, each in classes for t in each]
    columns = (*classes, (ANYTHING_ELSE, beyond(listed)))
    if within != EVERYTHING:
        columns = tuple(
            (text, tuple(attrs.evolve(t, opening=t.opening & within) for t in each)) for text, each in columns
        )
    answers = answer(network, list(found.values()), [each for _, each in columns], limits, progress)
    table = _Table(network, found, columns, answers, {"source_ports": source_ports, "limits": limits})
    tangled = {i for i, (_, each) in enumerate(columns) if _overlapping(each)}
    cells: list[Cell] = []
    rest: list[Cell] = []
    for src in found.values():
        for dst in names:
            for i, (text, _) in enumerate(columns):
                mask = 0
                for key in src.members:
                    mask |= answers.occurs.get((key, dst, i), 0)
                occurs = _OCCURS[mask]
                status = _STATUS[mask]
                if i in tangled and mask:
                    asked, *four = table.sets(src.name, dst, i)
                    occurs = frozenset(n for n, part in zip(_NAMES, four, strict=True) if part)
                    status = status_of(asked, *four[:3])
                (rest if i == len(classes) else cells).append(
                    Cell(src.name, dst, text, status, occurs, i, table)
                )
    return Matrix(
        tuple(names),
        tuple(text for text, _ in classes),
        tuple(cells),
        tuple(rest),
        _assumptions(network, found, listed, answers),
    )


def _status(mask: int) -> Status | None:
    if mask in (0, ALLOWED, BLOCKED):
        return {0: None, ALLOWED: Status.ALLOWED, BLOCKED: Status.BLOCKED}[mask]
    return Status.UNKNOWN if mask & UNKNOWN and not mask & (BLOCKED | SPLIT) else Status.PARTIAL


_STATUS = [_status(mask) for mask in range(16)]
_OCCURS = [frozenset(name for name, bit in _NAMES.items() if mask & bit) for mask in range(16)]


def _ends(network: Network, wanted: str | Iterable[str] | None) -> list[str]:
    if wanted is None:
        wanted = "services" if network.services else "zones"
    if not isinstance(wanted, str):
        return list(dict.fromkeys(wanted))
    if wanted == "zones":
        return list(map(network.zone_label, network.zones))
    if wanted not in KINDS:
        raise QuestionError.of(
            f"ends are {', '.join(KINDS)} or a list of names, not {wanted[:60]!r}",
            code="NS313",
            hint=near_misses(wanted, KINDS),
        )
    return list(network.services if wanted == "services" else network.hosts)


def _columns(
    network: Network, wanted: Any, source_ports: tuple[int, int]
) -> tuple[tuple[str, tuple[Traffic, ...]], ...]:
    if wanted is None:
        services = [s for s in network.services.values() if s.ports]
        ports = [t for service in services for t in service_traffic(service, source_ports)]
        wanted = ports or ["tcp", "udp", "icmp"]
    if isinstance(wanted, str | PacketSet | Traffic):
        wanted = [wanted]
    found: dict[str, tuple[Traffic, ...]] = {}
    for each in wanted:
        classes = parse_traffic(each, source_ports=source_ports)
        text = "; ".join(t.text for t in classes)
        if text == ANYTHING_ELSE or (text in found and found[text] != classes):
            raise QuestionError.of(f"two classes are called {text[:60]!r}", code="NS313")
        found[text] = classes
    return tuple(found.items())


def _overlapping(classes: Sequence[Traffic]) -> bool:
    return any(
        a.opening & b.opening and (a.answered, a.raw, a.protocol) != (b.answered, b.raw, b.protocol)
        for n, a in enumerate(classes)
        for b in classes[:n]
    )


def _assumptions(
    network: Network, ends: dict[str, End], listed: list[Traffic], answers: Answers
) -> tuple[Assumption, ...]:
    found = [Assumption("answers", "the answer takes its own routes and must come through too")]
    if any(t.ephemeral for t in listed) and network.source_ports is None:
        found.append(Assumption("source-ports", "clients use the source ports 1024-65535"))
    found += network.assumptions
    found += not_asked(network, {name: end.instances for name, end in ends.items()})
    found += [Assumption("gateway", text) for text in answers.assumed]
    if answers.over_budget:
        found.append(Assumption("budget", answers.over_budget))
    return tuple(found)


register("matrix", matrix)

__all__ = ["ANYTHING_ELSE", "Cell", "Matrix", "matrix"]
