"""Rule sets, compiled: chains as functions, the first-match lookup, and sets of packets through them."""

from netsim.index.index import Deciding, Index

__all__ = ["Deciding", "Index"]
