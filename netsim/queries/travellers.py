"""What is on its way through a network, the stations of its path, and what stops it or lets it through. See `queries.trace`."""

from __future__ import annotations

import attrs

from netsim.errors import BudgetExceeded
from netsim.queries.connections import Crossing
from netsim.rules.model import Chain, Rule
from netsim.space.fields import Family
from netsim.space.transform import Transformation


@attrs.frozen(slots=True)
class Hop:
    """One station of a path: a host, a device with the interfaces used, or the end."""

    name: str
    iif: str = ""
    oif: str = ""
    note: str = ""

    def __str__(self) -> str:
        ports = "/".join(p for p in (self.iif, self.oif) if p)
        return f"{self.name}[{ports}]" if ports else self.name


@attrs.frozen(slots=True)
class Stop:
    """What stops part of the packets: see `reach.Blocker`, which is this with packet sets."""

    kind: str
    device: str
    rule: Rule | None
    text: str
    chain: str
    verdict: str
    sure: int
    maybe: int
    trail: tuple[Rule, ...]
    direction: str
    path: tuple[Hop, ...]


@attrs.frozen(slots=True)
class Admit:
    """What lets part of the packets through a device: see `reach.Admitter`, which is this with packet sets."""

    device: str
    rule: Rule | None
    chain: Chain
    packets: int
    trail: tuple[Rule, ...]
    direction: str


@attrs.frozen(slots=True)
class Traveller:
    """A set on its way. `via` is the next hop's address on `link`, None: the destination itself.

    `seen` are the devices' interfaces by which packets came, each with the packets that did; `device` is
    the device that is the end of the way.
    """

    packets: int
    change: Transformation
    sure: bool
    link: str
    via: tuple[Family, int] | None
    path: tuple[Hop, ...]
    crossings: tuple[Crossing, ...] = ()
    seen: tuple[tuple[str, str, int], ...] = ()
    device: str = ""


@attrs.define(slots=True)
class Steps:
    """The steps that one source's packets and their answers may take. Raises `BudgetExceeded`."""

    limit: int
    taken: int = 0

    def take(self) -> None:
        """One more step."""
        self.taken += 1
        if self.taken > self.limit:
            raise BudgetExceeded(f"more than {self.limit} steps on paths (Limits.paths)")


__all__ = ["Admit", "Hop", "Steps", "Stop", "Traveller"]
