"""iptables-save and ip6tables-save: dumps to rule sets."""

from netsim.parsers.iptables.dump import parse

__all__ = ["parse"]
