"""What a fix is: the lines to edit, the proof of each, and what the network does after them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import attrs

from netsim.display import Displayed, Document
from netsim.queries.compare import Comparison
from netsim.queries.fix.cover import Narrow
from netsim.queries.reach import Because, Reachability
from netsim.rules.model import Rule
from netsim.space.packets import NOTHING, PacketSet
from netsim.topology.edit import Edit
from netsim.topology.network import Network

COLUMNS = (
    "kind", "device", "chain", "number", "place", "text", "command", "rule", "rule_text", "why", "proof",
)  # fmt: skip
"""The keys of every row of a fix."""


class FixStatus(Enum):
    """The answer in one word."""

    NOTHING = "nothing to do"
    FOUND = "found"
    IMPOSSIBLE = "impossible"
    UNKNOWN = "unknown"


class EditKind(Enum):
    """What happens to a line."""

    INSERT = "insert"
    REPLACE = "replace"
    DELETE = "delete"


@attrs.frozen(slots=True)
class LineEdit:
    """One edited line of one device's rules.

    `chain` is `table/chain`; `number` is the place when its turn comes: a new line goes in front of what is rule
    `number` then (one more than there are rules: the end). `rule` is the rule that is replaced or deleted, or in front of
    which a line goes; None at the end. `text` is the line in the device's dialect ('' for a deletion), `command`
    what does it on the device; commands of a fix are run in their order. `narrow` says for every condition why
    it is no narrower.
    """

    kind: EditKind
    device: str
    chain: str
    number: int
    text: str
    command: str
    rule: Rule | None
    why: str
    narrow: tuple[Narrow, ...] = ()

    @property
    def place(self) -> str:
        """`file:line` of the rule that is replaced, deleted, or stands behind a new line; else the chain's end."""
        if self.rule is not None and (self.rule.source.file or self.rule.source.pointer):
            return self.rule.source.line_place
        return f"{self.device}:{self.chain}/{self.number}"

    def row(self) -> dict[str, Any]:
        """The edit as a plain row with the keys `COLUMNS`."""
        return {
            "kind": self.kind.value,
            "device": self.device,
            "chain": self.chain,
            "number": self.number,
            "place": self.place,
            "text": self.text,
            "command": self.command,
            "rule": self.rule.id if self.rule is not None else None,
            "rule_text": self.rule.text if self.rule is not None else None,
            "why": self.why,
            "proof": [n.text for n in self.narrow],
        }


@attrs.frozen(slots=True)
class Searched:
    """How the fewest lines were found.

    `tried` single lines were each put into the network and their effect was traced; `combined` are the sets of
    them that were looked at. `complete` False: the limit on what is tried was reached, so fewer lines may do.
    """

    tried: int = 0
    combined: int = 0
    complete: bool = True
    statement: str = ""


@attrs.frozen(slots=True)
class Reason:
    """Why no edit of rules can help with part of the packets, which are in the sender's header.

    `kind` is that of a blocker of `reach`, or not-expressible, no-rules, expectation (a conflict), or not-found: then
    the status is unknown, since what was tried is not everything.
    """

    kind: str
    device: str
    text: str
    packets: PacketSet


@attrs.frozen(slots=True)
class Kept:
    """An expectation that a closing edit must not touch, and what it lets through before and after."""

    src: str
    dst: str
    traffic: str
    allowed: PacketSet
    after: PacketSet = NOTHING


@attrs.frozen(slots=True, eq=False)
class Fix(Displayed):
    """The answer of `fix`; `bool` of it raises, ask `status`.

    `before` and `reach` are the reachability before and after (`reach` is that before where nothing is edited),
    `network` and `edit` the network after and the steps to it. `comparisons` say what the edited devices decide
    differently. `opened` is what was asked and is newly allowed (for `closing`: newly blocked), in the sender's
    header; `besides` is, by device, what else its rules let through (or, closing, what they no longer do), in the
    header of the packet as it arrives there; `aside` is, likewise, what they otherwise treat in another way: what an
    opening edit stops or a closing one lets through, other verdicts that stop, other marks and translations. Marks, TTL, frame, connection status and direction make no packet
    another one than was asked for (`cover.UNCOUNTED`), nor does the state where no rule of the device asks for it.
    """

    src: str
    dst: str
    traffic: str
    closing: bool
    status: FixStatus
    edits: tuple[LineEdit, ...]
    edit: Edit
    before: Reachability
    reach: Reachability
    comparisons: Mapping[str, Comparison]
    opened: PacketSet
    besides: Mapping[str, PacketSet]
    searched: Searched
    impossible: tuple[Reason, ...] = ()
    because: tuple[Because, ...] = ()
    kept: tuple[Kept, ...] = ()
    notes: tuple[str, ...] = ()
    aside: Mapping[str, PacketSet] = attrs.Factory(dict)

    def __bool__(self) -> bool:
        raise TypeError("a Fix is neither true nor false; compare .status, or test .edits")

    @property
    def network(self) -> Network:
        """The network after the edits."""
        return self.edit.network

    @property
    def opened_besides(self) -> Mapping[str, PacketSet]:
        """What an opening fix lets through that was not asked for, by device; empty sets are left out."""
        return {} if self.closing else self.besides

    @property
    def lost_besides(self) -> Mapping[str, PacketSet]:
        """What a closing fix stops that was not asked for, by device; empty sets are left out."""
        return self.besides if self.closing else {}

    @property
    def narrow(self) -> tuple[Narrow, ...]:
        """The proofs of all edits: no condition can be narrower."""
        return tuple(n for e in self.edits for n in e.narrow)

    def rows(self) -> list[dict[str, Any]]:
        """The edits as plain rows with the keys `COLUMNS`."""
        return [e.row() for e in self.edits]

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(self.rows(), COLUMNS)

    def explain(self) -> Document:
        """The edits, what they open, what was searched and what is proven."""
        from netsim.queries.fix.show import explain

        return explain(self)

    def document(self) -> Document:
        """The same as `explain()`."""
        return self.explain()


__all__ = ["COLUMNS", "EditKind", "Fix", "FixStatus", "Kept", "LineEdit", "Reason", "Searched"]
