"""Conditions in iptables' words.

Theory of operation. A rule is a conjunction, and so is a command line; but -s, -d, -i, -o, -p and -f may stand only
once, while a match may be loaded as often as one likes. So tests of one field are intersected where that is
exact, what fits into an option goes there, and the rest into matches of its own: a union of address ranges is
its hull without its gaps (`-m iprange ! --src-range`). Tests of connection tracking belong together, since a match
that asks for more than the state holds for no packet without an entry (xt_conntrack.c).

What is exact is said of the index' bounds: on the nft back end a port test may hold for later fragments, so two
port tests that exclude each other are not the same as none.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from netsim.parsers.iptables.matches import MODULE_PROTOCOLS, PROTOCOL_MODULES
from netsim.parsers.iptables.options import ONLY
from netsim.parsers.iptables.values import masked_ranges
from netsim.parsers.iptables.write_tracking import no, tracking_words
from netsim.parsers.text import Quoted, words
from netsim.rules.journey import PORT_FIELDS
from netsim.rules.model import AnyOf, Bits, Condition, Deferred, In, Unmodelled
from netsim.space.addresses import show_address
from netsim.space.fields import (
    ADDRESS_FIELDS,
    FIELDS,
    NO_MAC,
    PORT_PROTOCOLS,
    Family,
    Kind,
    Range,
    TcpFlag,
    complement_ranges,
    interface_name,
    interface_prefix,
    merge_ranges,
)

GAPS = 16
"""How many holes of a list of addresses become matches of one rule."""
SLOTS = 15
"""How many ports multiport takes, a range counting as two."""

_NAMES = {6: "tcp", 17: "udp", 1: "icmp", 58: "ipv6-icmp", 132: "sctp", 136: "udplite", 50: "esp", 51: "ah"}


def match_words(conditions: Iterable[Condition], *, family: Family, backend: str, chain: str) -> list[str]:
    """The words of a conjunction for a rule of that chain. Raises `Inexpressible`."""
    return _Writer(family, backend, chain).write(conditions)


def masked_of(ranges: tuple[Range, ...], width: int) -> tuple[int, int] | None:
    """The value and mask whose numbers these are, None if they are no such set."""
    if not ranges:
        return None
    base, free = ranges[0][0], 0
    for low, high in ranges:
        free |= (1 << (low ^ high).bit_length()) - 1 | low ^ base
    mask = ((1 << width) - 1) & ~free
    return (base & mask, mask) if masked_ranges(base & mask, mask, width) == ranges else None


def _intersect(a: tuple[Range, ...], b: tuple[Range, ...], top: int) -> tuple[Range, ...]:
    outside = merge_ranges([*complement_ranges(a, top), *complement_ranges(b, top)])
    return complement_ranges(outside, top)


def _top(field: str) -> int:
    return NO_MAC - 1 if field == "mac" else FIELDS[field].maximum


@attrs.define
class _Writer:
    family: Family
    backend: str
    chain: str
    sides: dict[str, list[str]] = attrs.Factory(dict)  # -s, -d, -i, -o, -p, -f: once each
    matches: list[list[str]] = attrs.Factory(list)
    native: list[dict[str, list[str]]] = attrs.Factory(list)  # the protocol's own match, option by option
    protocol: int | None = None
    negated: bool = False
    module: str = ""
    whole: bool = False  # "not a later fragment" is to be said
    first: bool = False  # a test was written that only first fragments can pass

    def write(self, conditions: Iterable[Condition]) -> list[str]:
        """The words, in the order of iptables-save."""
        ins, bits, others = self._sorted(conditions)
        self._protocol(ins.pop("protocol", []), bits)
        self._fragment([b for b in bits if b.field == "fragment"])
        for side in ("src", "dst"):
            for condition in ins.pop(ADDRESS_FIELDS[side, self.family], []):
                self._addresses(side, condition.ranges)
        for field in ("iif", "oif"):
            for condition in ins.pop(field, []):
                self._interface(field, condition.ranges)
        bits, rest = self._tracked(ins, bits, others)
        for field in ("sport", "dport"):
            for condition in ins.pop(field, []):
                self._ports(field, condition.ranges)
        rest = self._icmp(ins, rest)
        for bit in bits:
            self._bits(bit)
        for field, found in ins.items():
            for condition in found:
                self._number(field, condition.ranges)
        for other in rest:
            self._other(other)
        return self._joined()

    def _joined(self) -> list[str]:
        words = [word for key in ("-s", "-d", "-i", "-o") for word in self.sides.get(key, ())]
        words += [word for key in ("-p", "-f") for word in self.sides.get(key, ())]
        if self.whole and not (self.first and self.backend != "nft"):
            # Only here is it known whether a match says it along the way.
            if self.backend != "nft" and self.module and self.protocol in PORT_PROTOCOLS and not self.negated:
                self.native = self.native or [{}]
            elif self.family is Family.IPV4 and "-f" not in self.sides:
                words += ["!", "-f"]
            else:
                raise no("fragments", "ip6tables cannot say 'not a later fragment' here")
        for options in self.native:
            # Without a port or flag test -m would add "no later fragment" on the legacy back end.
            ported = any(key in ("sport", "dport", "flags", "icmp") for key in options)
            if self.whole or ported or self.backend == "nft":
                words += ["-m", self.module]
            words += [word for option in options.values() for word in option]
        return words + [word for match in self.matches for word in match]

    # Sorting

    def _sorted(
        self, conditions: Iterable[Condition]
    ) -> tuple[dict[str, list[In]], list[Bits], list[Condition]]:
        """The tests of each field, those of one field intersected where that is exact; what is always true is gone."""
        ins: dict[str, list[In]] = {}
        bits: list[Bits] = []
        others: list[Condition] = []
        waiting = list(conditions)[::-1]
        while waiting:
            condition = waiting.pop()
            match condition:
                case AnyOf((single,), False, text) if text != "ctstate":
                    waiting.extend(single[::-1])
                case AnyOf(alternatives, False) if (union := _union(alternatives)) is not None:
                    waiting.append(union)
                case In("family", ranges):
                    if merge_ranges(ranges) != ((self.family, self.family),):
                        raise no("family", f"a rule of {self.family.name} sees no other packets")
                case In(field, ranges):
                    self._merge(ins, In(field, merge_ranges(ranges)))
                case Bits():
                    if condition not in bits and not _always(condition):
                        bits.append(condition)
                case _:
                    if condition not in others:
                        others.append(condition)
        return ins, bits, others

    def _merge(self, ins: dict[str, list[In]], condition: In) -> None:
        field, top = condition.field, FIELDS[condition.field].maximum
        if FIELDS[field].kind is not Kind.INTERVAL:
            raise no(field, "it is tested bit by bit")
        needs = {name for name, _ in FIELDS[field].needs} - {"family"}
        if condition.ranges == ((0, top),) and not needs:
            return
        found = ins.setdefault(field, [])
        for n, other in enumerate(found):
            both = _intersect(other.ranges, condition.ranges, top)
            # On the nft back end an empty port test is not the same as two that exclude each other.
            if field not in PORT_FIELDS or self.backend != "nft" or both or other == condition:
                found[n] = In(field, both)
                return
        found.append(condition)

    # Options that stand once

    def _once(self, key: str, words: list[str], what: str) -> None:
        if key in self.sides:
            raise no(what, f"{key} stands once in a rule")
        self.sides[key] = words

    def _protocol(self, found: list[In], bits: list[Bits]) -> None:
        if not found:
            if self.backend != "nft" and any(b.field == "tcp_flags" for b in bits):
                found = [In("protocol", ((6, 6),))]  # the only one that has flags
            else:
                return
        ranges = found[0].ranges
        negated = len(ranges) != 1 or ranges[0][0] != ranges[0][1]
        if negated:
            ranges = complement_ranges(ranges, 255)
        if len(ranges) != 1 or ranges[0][0] != ranges[0][1]:
            raise no("protocol", "a rule names one protocol, or all but one")
        number = ranges[0][0]
        if number == 0:
            raise no("protocol", "0 is every protocol in iptables")
        self.protocol, self.negated = number, negated
        self.module = PROTOCOL_MODULES.get(number, "")
        if negated and not (self.backend == "nft" and number in PORT_PROTOCOLS):
            self.module = ""
        self._once("-p", ["!"] * negated + ["-p", _NAMES.get(number, str(number))], "protocol")

    def _fragment(self, found: list[Bits]) -> None:
        wanted = {b.value ^ b.negated if b.care == 1 else -1 for b in found}
        if not wanted:
            return
        if len(wanted) > 1 or wanted & {-1} or any(b.value & ~b.care for b in found):
            raise no("fragments", "these tests exclude each other")
        if wanted == {0}:
            self.whole = True
        elif self.family is Family.IPV6:
            raise no("fragments", "ip6tables has no -f")
        else:
            self._once("-f", ["-f"], "fragments")

    def _addresses(self, side: str, ranges: tuple[Range, ...]) -> None:
        option, match = f"-{side[0]}", f"--{side}-range"
        top = (1 << self.family.bits) - 1
        outside = complement_ranges(ranges, top)
        if not outside:
            return
        if not ranges:
            self._never()
            return
        for negated, part in ((False, ranges), (True, outside)):
            masked = masked_of(part, self.family.bits)
            if masked is not None and option not in self.sides:
                self.sides[option] = ["!"] * negated + [option, self._prefix(*masked)]
                return
        hull = (ranges[0][0], ranges[-1][1])
        gaps = [r for r in outside if hull[0] < r[0] and r[1] < hull[1]]
        if len(gaps) > GAPS:
            raise no(f"{side} addresses", f"a list of {len(ranges)} ranges is more than one rule")
        parts = [(False, hull)] if hull != (0, top) else []
        for negated, span in (*parts, *((True, gap) for gap in gaps)):
            masked = masked_of((span,), self.family.bits)
            if masked is not None and option not in self.sides:
                self.sides[option] = ["!"] * negated + [option, self._prefix(*masked)]
                continue
            low, high = (show_address(self.family, a) for a in span)
            self.matches.append(["-m", "iprange", *["!"] * negated, match, f"{low}-{high}"])

    def _never(self) -> None:
        """A test that no packet passes: a reversed range, which both back ends load (the nft one no `! -s ::/0`)."""
        high, low = (show_address(self.family, a) for a in (2, 1))
        self.matches.append(["-m", "iprange", "--src-range", f"{high}-{low}"])

    def _prefix(self, value: int, mask: int) -> str:
        host = ((1 << self.family.bits) - 1) & ~mask
        prefix = not host & (host + 1)
        behind = str(self.family.bits - host.bit_length()) if prefix else show_address(self.family, mask)
        return f"{show_address(self.family, value)}/{behind}"

    def _interface(self, field: str, ranges: tuple[Range, ...]) -> None:
        option = "-i" if field == "iif" else "-o"
        if self.chain in ONLY[option]:
            raise no(field, f"{option} has no meaning in {self.chain}")
        if not ranges:
            self._never()  # `! -i +` loads, and iptables-save forgets it
            return
        for negated, part in ((False, ranges), (True, complement_ranges(ranges, FIELDS[field].maximum))):
            name = _interface_pattern(part)
            if name:
                self._once(option, ["!"] * negated + [option, name], field)
                return
        raise no(field, "a rule names one interface or one beginning of names")

    # The protocol's own match

    def _option(self, key: str, words: list[str]) -> None:
        """An option of the protocol's own match; a second one of its kind goes into another such match."""
        self.first = self.first or key in ("sport", "dport", "flags", "icmp")
        for options in self.native:
            if key not in options:
                options[key] = words
                return
        self.native.append({key: words})

    def _ports(self, field: str, ranges: tuple[Range, ...]) -> None:
        if self.protocol not in PORT_PROTOCOLS:
            raise no(field, "a port needs one protocol that has ports")
        outside = complement_ranges(ranges, 65535)
        native = bool(self.module) and not any(field in options for options in self.native)
        for negated, part in ((False, ranges), (True, outside)):
            if native and len(part) == 1:
                self._option(field, ["!"] * negated + [f"--{field}", _colon(part[0])])
                return
        if self.negated:
            raise no(field, "several ports need one protocol, not all but one")
        for negated, part in ((False, ranges), (True, outside)):
            if part and _slots(part) <= SLOTS:
                listed = ",".join(_colon(r) for r in part)
                self.first = True
                self.matches.append(["-m", "multiport", *["!"] * negated, f"--{field}s", listed])
                return
        raise no(field, f"multiport takes {SLOTS} ports, a range counting as two")

    def _icmp(self, ins: dict[str, list[In]], rest: list[Condition]) -> list[Condition]:
        kinds, codes = ins.pop("icmp_type", []), ins.pop("icmp_code", [])
        wanted = 1 if self.family is Family.IPV4 else 58
        pairs: list[tuple[bool, str]] = []
        left: list[Condition] = []
        for condition in rest:
            match condition:
                case AnyOf(((In("icmp_type", ((a, b),)), In("icmp_code", ((c, d),))),), True) if (
                    a == b and c == d
                ):
                    pairs.append((True, f"{a}/{c}"))
                case _:
                    left.append(condition)
        if not kinds and not codes and not pairs:
            return left
        if self.protocol != wanted or self.negated:
            raise no("icmp_type", f"an ICMP type needs -p {_NAMES[wanted]}")
        if len(kinds) != 1 or len(codes) > 1:
            raise no("icmp_type", "a rule names one ICMP type, and one code with it")
        ranges = kinds[0].ranges
        outside = complement_ranges(ranges, 255)
        any_type = self.family is Family.IPV4
        single = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
        if codes:
            low, high = codes[0].ranges[0] if len(codes[0].ranges) == 1 else (0, 1)
            if not single or low != high:
                raise no("icmp_code", "a rule names one code, of one type")
            pairs.append((False, f"{ranges[0][0]}/{low}"))
        elif single:
            pairs.append((False, str(ranges[0][0])))
        elif ranges == ((0, 255),):
            if not pairs and any_type:
                pairs.append((False, "any"))
            elif not pairs:
                raise no("icmp_type", "ip6tables has no word for any type")
        elif len(outside) == 1 and outside[0][0] == outside[0][1]:
            pairs.append((True, str(outside[0][0])))
        elif not ranges and any_type:
            pairs.append((True, "any"))
        else:
            raise no("icmp_type", "a rule names one ICMP type, or all but one")
        for negated, text in pairs:
            if any_type and text.partition("/")[0] == "255":
                raise no("icmp_type", "255 is every type in iptables")
            option = "--icmp-type" if any_type else "--icmpv6-type"
            self._option("icmp", ["!"] * negated + [option, text])
        return left

    # Bits and numbers

    def _bits(self, bit: Bits) -> None:
        inverse = ["!"] * bit.negated
        match bit.field:
            case "fragment":
                return
            case "mark" | "ctmark":
                module = "mark" if bit.field == "mark" else "connmark"
                text = f"0x{bit.value:x}/0x{bit.care:x}"
                self.matches.append(["-m", module, *inverse, "--mark", text])
            case "tcp_flags":
                self._flags(bit)
            case _:
                raise no(bit.field, "no match asks for it")

    def _flags(self, bit: Bits) -> None:
        if self.protocol != 6 or self.negated:
            raise no("tcp_flags", "flags need -p tcp")
        inverse = ["!"] * bit.negated
        if not bit.care:
            # iptables-save forgets a test of no flag.
            if bool(bit.value) is not bit.negated:
                self._never()
            elif self.backend == "nft":
                raise no("tcp_flags", "a rule asks for some flag")
            else:
                self.whole = True
            return
        for name, flag in (("cwr", TcpFlag.CWR), ("ece", TcpFlag.ECE)):
            if bit.care == flag == bit.value:
                self.matches.append(["-m", "ecn", *inverse, f"--ecn-tcp-{name}"])
                return
            if bit.care == flag and not bit.value:
                self.matches.append(["-m", "ecn", *["!"] * (not bit.negated), f"--ecn-tcp-{name}"])
                return
        if bit.care & 0xC0 or bit.value & 0xC0:
            if bit.negated or bit.value & ~bit.care:
                raise no("tcp_flags", "ECE and CWR are tested one by one")
            for part in (0x3F, int(TcpFlag.ECE), int(TcpFlag.CWR)):
                if bit.care & part:
                    self._flags(Bits("tcp_flags", bit.care & part, bit.value & part))
            return
        self._option("flags", [*inverse, "--tcp-flags", _flag_names(bit.care), _flag_names(bit.value)])

    def _number(self, field: str, ranges: tuple[Range, ...]) -> None:
        """length, ttl, tos and mac; each has its own form."""
        outside = complement_ranges(ranges, _top(field))
        match field:
            case "length":
                for negated, part in ((False, ranges), (True, outside)):
                    if len(part) == 1 and part[0][1] <= 65535:
                        text = _colon(part[0])
                        self.matches.append(["-m", "length", *["!"] * negated, "--length", text])
                        return
                raise no(field, "a rule names one range of lengths")
            case "ttl":
                self._ttl(ranges)
            case "tos":
                self._tos(ranges, outside)
            case "mac":
                if self.chain in ("OUTPUT", "POSTROUTING"):
                    raise no(field, f"packets have no source MAC address in {self.chain}")
                for negated, part in ((False, ranges), (True, outside)):
                    if len(part) == 1 and part[0][0] == part[0][1] < NO_MAC:
                        text = ":".join(f"{octet:02X}" for octet in part[0][0].to_bytes(6, "big"))
                        self.matches.append(["-m", "mac", *["!"] * negated, "--mac-source", text])
                        return
                raise no(field, "a rule names one MAC address")
            case _:
                raise no(field, f"a rule of {self.family.name} has no words for it")

    def _ttl(self, ranges: tuple[Range, ...]) -> None:
        name = "ttl" if self.family is Family.IPV4 else "hl"
        if not ranges:
            self.matches.append(["-m", name, f"--{name}-lt", "0"])
            return
        low, high = ranges[0][0], ranges[-1][1]
        holes = [r for r in complement_ranges(ranges, 255) if low < r[0] and r[1] < high]
        if any(a != b for a, b in holes) or len(holes) > GAPS:
            raise no("ttl", "a rule names one range of TTLs, single ones taken out")
        if low == high:
            self.matches.append(["-m", name, f"--{name}-eq", str(low)])
            return
        if low:
            self.matches.append(["-m", name, f"--{name}-gt", str(low - 1)])
        if high < 255:
            self.matches.append(["-m", name, f"--{name}-lt", str(high + 1)])
        self.matches += [["-m", name, "!", f"--{name}-eq", str(a)] for a, _ in holes]

    def _tos(self, ranges: tuple[Range, ...], outside: tuple[Range, ...]) -> None:
        for negated, part in ((False, ranges), (True, outside)):
            found = masked_of(part, 8)
            if found is None:
                continue
            value, mask = found
            inverse = ["!"] * negated
            if mask == 0xFC:
                self.matches.append(["-m", "dscp", *inverse, "--dscp", f"0x{value >> 2:02x}"])
            else:
                self.matches.append(["-m", "tos", *inverse, "--tos", f"0x{value:02x}/0x{mask:02x}"])
            return
        raise no("tos", "a rule names one value and mask")

    def _tracked(
        self, ins: dict[str, list[In]], bits: list[Bits], others: list[Condition]
    ) -> tuple[list[Bits], list[Condition]]:
        """Write the state, the direction and what else belongs to `-m conntrack`; the other tests are left."""
        states, directions = ins.pop("state", []), ins.pop("direction", [])
        status = [b for b in bits if b.field == "ct_status"]
        matches, left = tracking_words(
            states[0].ranges if states else None,
            [*directions, *status],
            others,
            marked=any(b.field == "ctmark" for b in bits),
        )
        self.matches += matches
        return [b for b in bits if b.field != "ct_status"], left

    # What is handed through

    def _other(self, condition: Condition) -> None:
        match condition:
            case AnyOf((), False):
                self._never()
            case AnyOf(((In("sport", a),), (In("dport", b),)), False) if a == b and a:
                if self.protocol not in PORT_PROTOCOLS or self.negated or _slots(a) > SLOTS:
                    raise no("ports", f"--ports needs one protocol with ports and at most {SLOTS} of them")
                self.matches.append(["-m", "multiport", "--ports", ",".join(map(_colon, a))])
            case AnyOf(_, negated, text) if text.startswith("set "):
                self._set(text, negated)
            case Deferred(_, _, text, negated) | Unmodelled(text, _, negated):
                self._text(text, negated)
            case AnyOf(_, _, text):
                raise no(text or "alternatives", "a rule has no words for 'one of these'")
            case _:
                raise no("a condition", "it has no words in iptables")

    def _set(self, text: str, negated: bool) -> None:
        found = words(text)[1:]
        if found[:1] == ["--match-set"]:
            found = found[1:]
        if len(found) != 2:
            raise no(text[:60], "the set's sides are not known")
        self.matches.append(["-m", "set", *["!"] * negated, "--match-set", *found])

    def _text(self, text: str, negated: bool) -> None:
        """A match that is not modelled, or deferred, as it was read."""
        module, *found = words(text)
        if module == "ip" and len(found) == 2:
            self._once(found[0], ["!"] * negated + found, found[0])
            return
        options = _options(found)
        if negated:
            named = (
                [o for o in options if o[0] in ("--string", "--hex-string")]
                if module == "string"
                else options
            )
            if len(named) != 1:
                raise no(text[:60], "it is not clear which of its options is negated")
            named[0].insert(0, "!")
        if module in MODULE_PROTOCOLS:
            if self.protocol != MODULE_PROTOCOLS[module] or self.negated:
                raise no(text[:60], f"it needs -p {module}")
            for option in options:
                self._option(" ".join(option), option)
            return
        self.matches.append(["-m", module, *(word for option in options for word in option)])


def _options(found: list[str]) -> list[list[str]]:
    """Words grouped into options."""
    options: list[list[str]] = []
    fresh = True
    for word in found:
        value = isinstance(word, Quoted)
        if (word == "!" and not value) or (word.startswith("-") and not fresh and not value) or not options:
            options.append([word])
            fresh = word == "!"
        elif fresh and options[-1] == ["!"]:
            options[-1].append(word)
            fresh = False
        else:
            options[-1].append(word)
            fresh = False
    return options


def _union(alternatives: tuple[tuple[Condition, ...], ...]) -> In | None:
    """One test for alternatives that are tests of one field; None if they are not."""
    fields: set[str] = set()
    ranges: list[Range] = []
    for alternative in alternatives:
        match alternative:
            case (In(field, found),):
                fields.add(field)
                ranges += found
            case _:
                return None
    return In(fields.pop(), merge_ranges(ranges)) if len(fields) == 1 else None


def _always(bit: Bits) -> bool:
    """Whether a bit test holds for every packet (the field is everywhere)."""
    if FIELDS[bit.field].needs or bit.field == "ctmark":
        return False
    return (not bit.care and not bit.value and not bit.negated) or bool(bit.value & ~bit.care and bit.negated)


def _colon(span: Range) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]}:{span[1]}"


def _slots(ranges: tuple[Range, ...]) -> int:
    return sum(1 if low == high else 2 for low, high in ranges)


def _flag_names(value: int) -> str:
    if value == 0x3F:
        return "FIN,SYN,RST,PSH,ACK,URG"
    return ",".join(flag.name for flag in TcpFlag if value & flag) or "NONE"


def _interface_pattern(ranges: tuple[Range, ...]) -> str:
    """A name, or a beginning with `+`, for exactly these values; '' if there is none that can be written."""
    if len(ranges) != 1:
        return ""
    low, high = ranges[0]
    name = interface_name(low)
    if not name or not name.isprintable() or any(c in ' "\\!' for c in name) or name.startswith("-"):
        return ""
    if low == high:
        return "" if name.endswith("+") or len(name.encode()) > 15 else name
    return f"{name}+" if len(name.encode()) <= 14 and interface_prefix(name) == (low, high) else ""


__all__ = ["GAPS", "SLOTS", "masked_of", "match_words"]
