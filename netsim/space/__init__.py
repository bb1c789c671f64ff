"""Packet space: fields, addresses, packets, exact sets of packets and their decision diagram."""

from netsim.space.fields import Direction, Family, State
from netsim.space.packet import Packet
from netsim.space.packets import EVERYTHING, NOTHING, Box, PacketSet, packets
from netsim.space.transform import IDENTITY, Transformation

__all__ = [
    "EVERYTHING",
    "IDENTITY",
    "NOTHING",
    "Box",
    "Direction",
    "Family",
    "Packet",
    "PacketSet",
    "State",
    "Transformation",
    "packets",
]
