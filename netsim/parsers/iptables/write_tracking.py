"""Tests of connection tracking in iptables' words.

Without an entry `-m conntrack` looks at the state alone (xt_conntrack.c): with anything else asked for it holds only
if the state is asked for too. So the tests of one match belong together, and are recognised together.
"""

from __future__ import annotations

from collections.abc import Sequence

from netsim.errors import Inexpressible
from netsim.parsers.iptables.matches import HAS_ENTRY, STATES
from netsim.parsers.text import words
from netsim.rules.model import AnyOf, Bits, Condition, In, Unmodelled
from netsim.space.fields import CtStatus, Direction, Range

_ENTRY = HAS_ENTRY.ranges


def no(what: str, why: str) -> Inexpressible:
    """The error for a condition that has no words."""
    return Inexpressible(f"{what}: {why}")


def tracking_words(
    asked: tuple[Range, ...] | None, tests: Sequence[Condition], others: Sequence[Condition], *, marked: bool
) -> tuple[list[list[str]], list[Condition]]:
    """The matches that ask for a state (None: any), for tests that need an entry, and for some of the others.

    Returns the words of each match and the others that are left. `marked`: -m connmark asks for an entry too.
    """
    matches: list[list[str]] = []
    inner = [found for test in tests if (found := inner_words(test)) is not None]
    left: list[Condition] = []
    for condition in others:
        found = _conntrack(condition)
        if found is not None:
            matches.append(["-m", "conntrack", *found])
        elif (more := inner_words(condition)) is not None:
            inner.append(more)
        else:
            left.append(condition)
    if not inner:
        if asked is not None and not (asked == _ENTRY and marked):
            matches.append(["-m", "conntrack", *_state(asked)])
        return matches, left
    if asked is None or any(high > _ENTRY[0][1] for _, high in asked):
        raise no("connection tracking", "only a packet with an entry has a direction and a status")
    options = [word for words in inner for word in words]
    names = [word for word in options if word.startswith("--")]
    if len(names) != len(set(names)):
        raise no("connection tracking", "one match asks for each of its options once")
    state = [] if asked == _ENTRY else _state(asked)
    matches.append(["-m", "conntrack", *state, *options])
    return matches, left


def _state(ranges: tuple[Range, ...]) -> list[str]:
    names = [name for name, value in STATES.items() if any(a <= value <= b for a, b in ranges)]
    if not names:
        return ["!", "--ctstate", ",".join(STATES)]
    return ["--ctstate", ",".join(names)]


def _direction(condition: In) -> list[str]:
    for direction in Direction:
        if condition.ranges == ((direction, direction),):
            return ["--ctdir", direction.name]
    raise no("direction", "a rule names ORIGINAL or REPLY")


def _status(bit: Bits) -> list[str]:
    names = {CtStatus.SEEN_REPLY: "SEEN_REPLY", CtStatus.CONFIRMED: "CONFIRMED"}
    if bit.care == bit.value and bit.care in names:
        inverse = ["!"] * bit.negated
        return [*inverse, "--ctstatus", names[CtStatus(bit.care)]]
    raise no("ct_status", "a rule names SEEN_REPLY or CONFIRMED")


def inner_words(condition: Condition) -> list[str] | None:
    """A test that holds only with an entry, as an option of -m conntrack; None: something else."""
    match condition:
        case Unmodelled(text, True, negated) if text.startswith("conntrack --"):
            return ["!"] * negated + words(text)[1:]
        case Bits("ct_status"):
            return _status(condition)
        case In("direction"):
            return _direction(condition)
        case AnyOf(alternatives, negated, "ctstatus"):
            names = []
            for alternative in alternatives:
                found = inner_words(alternative[0]) if len(alternative) == 1 else None
                if found is None or found[0] != "--ctstatus":
                    return None
                names.append(found[1])
            return ["!"] * negated + ["--ctstatus", ",".join(names or ["NONE"])]
    return None


def _conntrack(condition: Condition) -> list[str] | None:
    """The words of a test of the state that has more to it than a list of states; None: something else."""
    match condition:
        case AnyOf(alternatives, negated, "ctstate"):
            names: list[str] = []
            for alternative in alternatives:
                match alternative:
                    case (In("state", ranges),):
                        names += _state(ranges)[1].split(",")
                    case (In("state"), Bits("ct_status", care, value, False)) if care == value and care in (
                        CtStatus.SNAT,
                        CtStatus.DNAT,
                    ):
                        names.append(CtStatus(care).name)
                    case _:
                        return None
            return ["!"] * negated + ["--ctstate", ",".join(names)] if names else None
        case AnyOf((with_entry, without), False, "conntrack"):
            states, others = without[1:], with_entry[len(without) :]
            if len(states) != 1 or with_entry[: 1 + len(states)] != (HAS_ENTRY, *states):
                return None
            state = states[0]
            state_words = _state(state.ranges) if isinstance(state, In) else _conntrack(state)
            inner = [inner_words(c) for c in others]
            if state_words is None or any(i is None for i in inner):
                return None
            return state_words + [word for i in inner for word in i or ()]
    return None


__all__ = ["no", "tracking_words"]
