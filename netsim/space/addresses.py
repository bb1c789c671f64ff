"""Addresses at the border: what people write becomes integers, and integers become netaddr again.

`netaddr` and `ipaddress` objects, text and integers are accepted; between, a set of addresses is a
sorted tuple of inclusive ranges of integers for each family. netaddr is imported on first use.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Union

from netsim.space.fields import Family, Range, merge_ranges

if TYPE_CHECKING:
    import netaddr

AddressLike = Union[str, int, ipaddress.IPv4Address, ipaddress.IPv6Address, "netaddr.IPAddress"]
"""One address. An int below 2^32 is IPv4, above it IPv6; give an object to say otherwise."""

PrefixLike = Union[
    AddressLike,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    "netaddr.IPNetwork",
    "netaddr.IPRange",
    "netaddr.IPSet",
]
"""A set of addresses: one address, a prefix, `low-high`, or netaddr's sets of them."""

Ranges = dict[Family, tuple[Range, ...]]
"""A set of addresses: for each family its ranges (a family without addresses is left out)."""


_VERSION: dict[Family, Literal[4, 6]] = {Family.IPV4: 4, Family.IPV6: 6}


def address(value: AddressLike) -> tuple[Family, int]:
    """The family and the integer of one address. Raises `ValueError` that says what was expected."""
    if isinstance(value, bool):
        raise ValueError("an address is expected, not a bool")
    if isinstance(value, int):
        if 0 <= value < 1 << 32:
            return Family.IPV4, value
        if value < 1 << 128:
            return Family.IPV6, value
        raise ValueError(f"{value} is no address: it has more than 128 bits")
    if isinstance(value, str):
        try:
            parsed = ipaddress.ip_address(value.strip())
        except ValueError:
            raise ValueError(f"{value[:80]!r} is not an IP address") from None
        return (Family.IPV4 if parsed.version == 4 else Family.IPV6), int(parsed)
    version = getattr(value, "version", None)
    if version in (4, 6):
        return (Family.IPV4 if version == 4 else Family.IPV6), int(value)
    raise ValueError(f"an address is expected, not {type(value).__name__}")


def ranges(value: PrefixLike | Iterable[PrefixLike]) -> Ranges:
    """The addresses of a prefix, a range `low-high`, a netaddr or ipaddress object, or several of them.

    A prefix with host bits set means its network. Raises `ValueError`.
    """
    found: dict[Family, list[Range]] = {}
    _collect(value, found, 0)
    return {family: merge_ranges(rs) for family, rs in sorted(found.items())}


def _collect(value: Any, found: dict[Family, list[Range]], depth: int) -> None:
    if isinstance(value, str):
        family, low, high = _text(value.strip())
        found.setdefault(family, []).append((low, high))
    elif isinstance(value, int):
        family, low = address(value)
        found.setdefault(family, []).append((low, low))
    elif hasattr(value, "iter_cidrs"):  # netaddr.IPSet
        for cidr in value.iter_cidrs():
            _bounds(cidr, cidr.first, cidr.last, found)
    elif hasattr(value, "first") and hasattr(value, "last"):  # netaddr.IPNetwork, IPRange
        _bounds(value, value.first, value.last, found)
    elif hasattr(value, "network_address"):  # ipaddress networks
        _bounds(value, int(value.network_address), int(value.broadcast_address), found)
    elif getattr(value, "version", None) in (4, 6):
        family, low = address(value)
        found.setdefault(family, []).append((low, low))
    elif isinstance(value, Iterable) and depth == 0:
        for member in value:
            _collect(member, found, depth + 1)
    else:
        raise ValueError(f"an address or prefix is expected, not {type(value).__name__}")


def _bounds(value: Any, first: int, last: int, found: dict[Family, list[Range]]) -> None:
    family = Family.IPV4 if value.version == 4 else Family.IPV6
    found.setdefault(family, []).append((int(first), int(last)))


def _text(text: str) -> tuple[Family, int, int]:
    try:
        if "/" in text:
            net = ipaddress.ip_network(text, strict=False)
            family = Family.IPV4 if net.version == 4 else Family.IPV6
            return family, int(net.network_address), int(net.broadcast_address)
        if "-" in text:
            left, _, right = text.partition("-")
            low, high = ipaddress.ip_address(left.strip()), ipaddress.ip_address(right.strip())
            if low.version == high.version and int(low) <= int(high):
                return (Family.IPV4 if low.version == 4 else Family.IPV6), int(low), int(high)
        family, low_value = address(text)
        return family, low_value, low_value
    except ValueError:
        pass
    raise ValueError(f"{text[:80]!r} is not an address, a prefix or a range of addresses")


def to_netaddr(family: Family, value: int) -> netaddr.IPAddress:
    """The netaddr object of an address."""
    import netaddr

    return netaddr.IPAddress(value, _VERSION[family])


def to_ipset(found: Ranges) -> netaddr.IPSet:
    """The netaddr set of some ranges."""
    import netaddr

    result = netaddr.IPSet()
    for family, rs in found.items():
        version = _VERSION[family]
        cidrs = [
            cidr
            for low, high in rs
            for cidr in netaddr.iprange_to_cidrs(
                netaddr.IPAddress(low, version), netaddr.IPAddress(high, version)
            )
        ]
        result |= netaddr.IPSet(cidrs)
    return result


def show_address(family: Family, value: int) -> str:
    """An address as text (RFC 5952 for IPv6)."""
    if family is Family.IPV4:
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    return str(ipaddress.IPv6Address(value))


def show_range(family: Family, low: int, high: int) -> str:
    """A prefix where the range is one, an address where it is one, else `low-high`."""
    size = high - low + 1
    if size == 1:
        return show_address(family, low)
    if size & (size - 1) == 0 and low % size == 0:
        return f"{show_address(family, low)}/{family.bits - (size.bit_length() - 1)}"
    return f"{show_address(family, low)}-{show_address(family, high)}"
