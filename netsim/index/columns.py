"""A batch of records as users name it, made into the columns that rows know.

A batch maps names to arrays of one length: `src` and `dst` (IPv4 as integers, IPv6 as `(n, 2)` of the upper and the
lower 64 bits, or texts), `src6` and `dst6` likewise for IPv6 (or the pair `src6_high`, `src6_low`), `family`,
`protocol`, `sport`, `dport` and every other field of `Packet`. Words are taken where a packet takes them:
`"tcp"`, `"SYN,ACK"`, `"established"`, names of interfaces; also as a pair (codes, words). Anything that
`np.asarray` takes is an array; a frame or an Arrow table is a mapping of its columns.

What a batch leaves out has the default of `Packet`: most of it is open. A port, type or flag of a record whose
protocol has none is 0. What is no such record is refused, with the first place where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import QuestionError, near_misses
from netsim.space.addresses import address
from netsim.space.fields import (
    FIELDS,
    PORT_PROTOCOLS,
    WORD,
    CtStatus,
    Direction,
    Family,
    State,
    TcpFlag,
    interface_value,
)
from netsim.space.packet import flags_value, mac_value, protocol_number, state_value

Array = NDArray[Any]

_TYPES: dict[str, type[np.generic]] = {
    "iif": np.uint64, "oif": np.uint64, "state": np.uint8, "direction": np.uint8, "protocol": np.uint8,
    "sport": np.uint16, "dport": np.uint16, "icmp_type": np.uint8, "icmp_code": np.uint8, "length": np.uint32,
    "ttl": np.uint8, "tos": np.uint8, "mac": np.uint64, "mark": np.uint32, "ctmark": np.uint32,
    "tcp_flags": np.uint8, "ct_status": np.uint8, "fragment": np.uint8,
}  # fmt: skip
"""The fields that a batch names as they are, and the type of their column."""

_WORDS: dict[str, Callable[[str], int]] = {
    "iif": interface_value,
    "oif": interface_value,
    "state": lambda word: int(state_value(word)),
    "direction": lambda word: int(Direction[word.strip().upper()]),
    "protocol": protocol_number,
    "mac": mac_value,
    "tcp_flags": flags_value,
}
NAMES = (
    "src", "dst", "src6", "dst6", "src6_high", "src6_low", "dst6_high", "dst6_low", "family", *_TYPES,
)  # fmt: skip
"""What a batch may name."""

ICMP = (1, 58)


@attrs.frozen(slots=True, eq=False)
class Batch:
    """Records as columns. `open` are the fields that no record says.

    `columns` maps columns of rows to arrays; that of `family` says which IP version each record has, 2 where
    that is open. Columns of fields that are open are left out.
    """

    size: int
    columns: Mapping[str, Array]
    open: frozenset[str]

    def completed(self, tested: Collection[str]) -> Batch:
        """With the columns that follow from others, where they are tested."""
        columns = dict(self.columns)
        state = columns["state"]
        if "ct_status" in tested and "ct_status" not in columns:
            seen = (state == State.ESTABLISHED) | (state == State.RELATED)
            columns["ct_status"] = seen * np.uint8(CtStatus.SEEN_REPLY | CtStatus.CONFIRMED)
        if "tcp_flags" in tested and "tcp_flags" not in columns and "protocol" in columns:
            opening = np.where(state == State.NEW, np.uint8(TcpFlag.SYN), np.uint8(TcpFlag.ACK))
            carries = (columns["protocol"] == 6) & (columns["fragment"] == 0)
            columns["tcp_flags"] = opening * carries
        return attrs.evolve(self, columns=columns)

    def values(self, i: int) -> dict[str, int | None]:
        """One record as `Packet.from_values` takes it."""
        found: dict[str, int | None] = {}
        for name, field in FIELDS.items():
            if field.width > 64 and name + ".high" in self.columns:
                upper, lower = (int(self.columns[name + end][i]) for end in (".high", ".low"))
                found[name] = upper << 64 | lower
            elif name in self.columns:
                found[name] = int(self.columns[name][i])
        family = found["family"] = None if found["family"] == 2 else found["family"]
        for side in ("src", "dst"):
            for number, name in enumerate((side + "4", side + "6")):
                if family != number:
                    found.pop(name, None)
        protocol, later = found.get("protocol"), found["fragment"]
        if later or (protocol is not None and protocol not in PORT_PROTOCOLS):
            found["sport"] = found["dport"] = None
        if later or (protocol is not None and protocol not in ICMP):
            found["icmp_type"] = found["icmp_code"] = None
        if protocol is not None and (later or protocol != 6):
            found["tcp_flags"] = None
        return found


def named(batch: Any) -> dict[str, Any]:
    """The columns of a mapping, a frame or an Arrow table."""
    if isinstance(batch, Mapping):
        return {str(name): batch[name] for name in batch}
    names = getattr(batch, "column_names", None)
    if names is None:
        names = getattr(batch, "columns", None)
    if names is None or callable(names):
        raise QuestionError.of(
            f"a {type(batch).__name__} is no batch",
            hint="a mapping of names to arrays of one length, a frame, or an Arrow table",
        )
    return {str(name): batch[name] for name in names}


def _refused(name: str, array: Any, wanted: str) -> QuestionError:
    return QuestionError.of(
        f"column {name!r} is {getattr(array, 'dtype', type(array).__name__)} of shape {getattr(array, 'shape', ())}",
        hint=wanted,
    )


def _array(name: str, given: Any) -> Array:
    """What is given for a column as an array; without records of any type."""
    if np.ma.is_masked(given):
        at = int(np.argmax(np.ma.getmaskarray(given).ravel()))
        raise QuestionError.of(
            f"record {at} has no {name}", code="NS400", hint="a column has no masked values"
        )
    try:
        array = np.asarray(given)
    except ValueError:
        raise _refused(
            name, given, "a column is a one-dimensional array, one value for each record"
        ) from None
    if array.ndim != 1 or len(array):
        return array
    return np.zeros(0, "U1" if name in _WORDS or name in ("src", "dst", "src6", "dst6") else np.uint8)


def _numbers(name: str, given: Any, top: int, kind: type[np.generic]) -> Array:
    """A column of numbers from 0 to `top`. Words become numbers first."""
    if isinstance(given, tuple) and len(given) == 2 and name in _WORDS:
        codes, words = np.asarray(given[0]), [str(word) for word in np.asarray(given[1], dtype=object)]
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise _refused(name, codes, "codes are a one-dimensional array of integers")
        _within(name, codes, len(words) - 1)
        return _spread(name, words, codes, kind)
    array = _array(name, given)
    if array.ndim != 1:
        raise _refused(name, array, "a column is a one-dimensional array, one value for each record")
    if array.dtype.kind in "UO" and name in _WORDS:
        if FIELDS[name].width > 64 and array.dtype.kind == "O":
            at = next((i for i, word in enumerate(array) if not isinstance(word, str)), -1)
            if at >= 0:
                raise QuestionError.of(
                    f"record {at} has {name} {array[at]!r}",
                    code="NS400",
                    hint=f"{name} is a name, '' for none",
                )
        distinct, codes = np.unique(array.astype(str), return_inverse=True)
        return _spread(name, [str(word) for word in distinct], codes.ravel(), kind)
    if array.dtype.kind not in "iub":
        also = ", or of words" if name in _WORDS else ""
        raise _refused(name, array, f"{name} is a column of integers 0 to {top}{also}")
    _within(name, array, top)
    return _owned(array.astype(kind, copy=False))


def _owned(array: Array) -> Array:
    """Kernels take arrays that may be written to, which they never do; others are copied."""
    return array if array.flags.writeable else array.copy()


def _within(name: str, array: Array, top: int) -> None:
    if not len(array) or (array.dtype.kind == "u" and np.iinfo(array.dtype).max <= top):
        return
    if array.dtype.kind == "b":
        return
    if int(array.min()) < 0 or int(array.max()) > top:
        wrong = array > top if int(array.max()) > top else array < 0
        at = int(np.argmax(wrong))
        raise QuestionError.of(
            f"record {at} has {name} {int(array[at])}", code="NS400", hint=f"{name} is 0 to {top}"
        )


def _spread(name: str, words: list[str], codes: Array, kind: type[np.generic]) -> Array:
    """The numbers of words, one for each code; names of interfaces as two words of 64 bits."""
    numbers: list[int] = []
    for i, word in enumerate(words):
        try:
            numbers.append(_WORDS[name](word))
        except (ValueError, KeyError) as error:
            at = int(np.argmax(codes == i))
            raise QuestionError.of(
                f"record {at} has {name} {word[:40]!r}",
                code="NS400",
                hint=str(error) if isinstance(error, ValueError) else "",
            ) from None
    if FIELDS[name].width > 64:
        table = np.array([[n >> 64, n & WORD] for n in numbers] or [[0, 0]], np.uint64)
        return table[codes]
    return np.array(numbers or [0], kind)[codes]


def _halves(name: str, array: Array) -> tuple[Array, Array]:
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise _refused(
            name, array, f"{name} is an array of shape (n, 2) of uint64: the upper and the lower 64 bits"
        )
    if array.dtype.kind == "i":
        for half in (0, 1):
            _within(name, array[:, half], WORD)
    both = array.astype(np.uint64, copy=False)
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])


def _texts(name: str, array: Array) -> tuple[Array, Array, Array]:
    """Addresses as texts: the family of each, and its upper and lower 64 bits."""
    words, codes = np.unique(array.astype(str), return_inverse=True)
    rows: list[tuple[int, int, int]] = []
    for i, word in enumerate(words):
        try:
            family, value = address(str(word))
        except ValueError as error:
            at = int(np.argmax(codes.ravel() == i))
            raise QuestionError.of(
                f"record {at} has {name} {str(word)[:50]!r}", code="NS400", hint=str(error)
            ) from None
        rows.append((int(family), value >> 64, value & WORD))
    table = np.array(rows or [(0, 0, 0)], np.uint64)[codes.ravel()]
    return table[:, 0].astype(np.uint8), table[:, 1].copy(), table[:, 2].copy()


@attrs.define(slots=True)
class _Ends:
    """The addresses of a batch while it is read: columns by name, and families that texts have said."""

    columns: dict[str, Array] = attrs.Factory(dict)
    families: list[tuple[str, Array]] = attrs.Factory(list)
    sizes: list[tuple[str, int]] = attrs.Factory(list)

    def take(self, side: str, given: Mapping[str, Any]) -> None:
        """`src`, `src6`, `src6_high` and `src6_low` of a batch."""
        if side in given:
            array = _array(side, given[side])
            self.sizes.append((side, len(array) if array.ndim else -1))
            if array.dtype.kind in "UO" and array.ndim == 1:
                family, upper, lower = _texts(side, array)
                self.families.append((side, family))
                self.columns[side + "4"] = lower.astype(np.uint32)
                if family.any():
                    self._six(side, upper, lower)
            elif array.ndim == 2:
                self._six(side, *_halves(side, array))
            else:
                self.columns[side + "4"] = _numbers(side, array, 0xFFFF_FFFF, np.uint32)
        pair = [given.get(f"{side}6_{end}") for end in ("high", "low")]
        if side + "6" in given:
            array = _array(side + "6", given[side + "6"])
            if array.dtype.kind in "UO" and array.ndim == 1:
                family, upper, lower = _texts(side + "6", array)
                if not family.all():
                    at = int(np.argmax(family == 0))
                    raise QuestionError.of(f"record {at} has an IPv4 address in {side}6", code="NS400")
                halves = upper, lower
            else:
                halves = _halves(side + "6", array)
            self.sizes.append((side + "6", len(halves[0])))
            self._six(side, *halves)
        elif any(p is not None for p in pair):
            if any(p is None for p in pair):
                raise QuestionError.of(f"{side}6_high and {side}6_low belong together")
            for end, half in zip(("high", "low"), pair, strict=True):
                column = _numbers(f"{side}6_{end}", half, WORD, np.uint64)
                self.sizes.append((f"{side}6_{end}", len(column)))
                self.columns[f"{side}6.{end}"] = column

    def _six(self, side: str, upper: Array, lower: Array) -> None:
        if side + "6.high" in self.columns:
            raise QuestionError.of(
                f"IPv6 addresses of {side} are given twice", hint=f"give {side} or {side}6"
            )
        self.columns |= {side + "6.high": upper, side + "6.low": lower}


def batch_of(batch: Any) -> Batch:
    """The records of a batch. Raises `QuestionError` for what is none, and says what is expected.

    A batch names at least one column; one without records is empty.
    """
    given = named(batch)
    for name in given:
        if name not in NAMES:
            raise QuestionError.of(
                f"no column {name[:40]!r}", hint=near_misses(name, NAMES) or f"columns are {', '.join(NAMES)}"
            )
    if not given:
        raise QuestionError.of("a batch without columns", hint=f"columns are {', '.join(NAMES)}")
    ends = _Ends()
    for side in ("src", "dst"):
        ends.take(side, given)
    columns: dict[str, Array] = {}
    sizes = list(ends.sizes)
    for name, kind in _TYPES.items():
        if name not in given:
            continue
        field = FIELDS[name]
        array = given[name] if isinstance(given[name], tuple) else _array(name, given[name])
        if field.width > 64 and isinstance(array, np.ndarray) and array.ndim == 2:
            columns[name + ".high"], columns[name + ".low"] = _halves(name, array)
        else:
            column = _numbers(name, array, field.maximum, kind)
            if field.width > 64:
                if column.ndim == 1:
                    raise _refused(name, column, f"{name} is a column of names, or a pair (codes, names)")
                columns[name + ".high"], columns[name + ".low"] = _halves(name, column)
            else:
                columns[name] = column
        sizes.append((name, len(columns.get(name, columns.get(name + ".low", ())))))
    if "family" in given:
        column = _numbers("family", given["family"], 6, np.uint8)
        wrong = ~np.isin(column, (0, 1, 4, 6))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise QuestionError.of(
                f"record {at} has family {int(column[at])}", code="NS400",
                hint="4 (or 0) is IPv4, 6 (or 1) is IPv6",
            )  # fmt: skip
        sizes.append(("family", len(column)))
        columns["family"] = np.where((column == 1) | (column == 6), np.uint8(1), np.uint8(0))
    size = sizes[0][1]
    for name, count in sizes:
        if count != size:
            raise QuestionError.of(
                f"column {name!r} has {count} records, {sizes[0][0]!r} has {size}",
                hint="all columns are of one length",
            )
    _family(size, ends, columns)
    return _filled(size, {**columns, **ends.columns})


def _family(size: int, ends: _Ends, columns: dict[str, Array]) -> None:
    """Fills in which IP version each record has, 2 where that is open."""
    said = columns.get("family")
    for name, family in ends.families:
        if said is not None and not np.array_equal(said, family):
            at = int(np.argmax(said != family))
            raise QuestionError.of(
                f"record {at} has addresses of different families",
                code="NS400",
                hint=f"{name} and another column",
            )
        said = family
    four = any(c in ends.columns for c in ("src4", "dst4"))
    six = any(c in ends.columns for c in ("src6.high", "dst6.high"))
    if said is None:
        if four and six:
            raise QuestionError.of(
                "a batch with IPv4 and IPv6 addresses needs a column 'family'", hint="4 is IPv4, 6 is IPv6"
            )
        if four or six:
            said = np.full(size, int(six), np.uint8)
        else:
            said = np.full(size, 2, np.uint8)
            if "protocol" in columns:
                said[columns["protocol"] == 1] = int(Family.IPV4)
                said[columns["protocol"] == 58] = int(Family.IPV6)
    for number, has, name in ((0, four, "src4"), (1, six, "src6")):
        if (four or six) and not has and bool((said == number).any()):
            at = int(np.argmax(said == number))
            raise QuestionError.of(
                f"record {at} is {Family(number).name}, and no column has addresses of it",
                code="NS400", hint=f"give {name[:3]}{'6' * number}, or leave such records out",
            )  # fmt: skip
    columns["family"] = said


def _only(
    name: str, columns: Mapping[str, Array], protocols: Collection[int], fragment: Array | None, wanted: str
) -> None:
    """Refuses values of a field where it does not apply."""
    column, protocol = columns.get(name), columns.get("protocol")
    if column is None or not column.any():
        return
    table = np.ones(256, np.bool_)
    table[list(protocols)] = False
    outside = np.zeros(len(column), np.bool_) if protocol is None else table[protocol]
    if fragment is not None:
        outside = outside | (fragment != 0)
    outside &= column != 0
    if outside.any():
        at = int(np.argmax(outside))
        shown = "open" if protocol is None else int(protocol[at])
        later = ", a later fragment" if fragment is not None and fragment[at] else ""
        raise QuestionError.of(
            f"record {at} has {name} {int(column[at])} and protocol {shown}{later}", code="NS400", hint=wanted
        )


def _filled(size: int, columns: dict[str, Array]) -> Batch:
    """Checks what belongs together, and fills in the defaults."""
    fragment = columns.get("fragment")
    if fragment is not None and not fragment.any():
        fragment = None
    ports = "ports need tcp, udp, udplite, sctp or dccp, and no later fragment; elsewhere they are 0"
    _only("sport", columns, PORT_PROTOCOLS, fragment, ports)
    _only("dport", columns, PORT_PROTOCOLS, fragment, ports)
    types = "types and codes need icmp or ipv6-icmp, and no later fragment; elsewhere they are 0"
    _only("icmp_type", columns, ICMP, fragment, types)
    _only("icmp_code", columns, ICMP, fragment, types)
    flags = "flags need tcp, and no later fragment; elsewhere they are 0"
    _only("tcp_flags", columns, (6,), fragment, flags)
    for name in ("state", "direction", "tos", "mark", "ctmark", "fragment"):
        columns.setdefault(name, np.zeros(size, _TYPES[name]))
    said = {name.partition(".")[0] for name in columns}
    if "protocol" in columns:
        said.add("tcp_flags")
    left = {name for name in FIELDS if name not in said and name not in ("variables", "ct_status")}
    return Batch(size, columns, frozenset(left))


__all__ = ["NAMES", "Batch", "batch_of", "named"]
