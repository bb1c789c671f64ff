"""The network as a networkx graph, and back.

Nodes carry `kind`: device, host, subnet, service or link. A device's node has `device` (the frozen value),
a host's `host`, a subnet's `subnet`, a service's `service`. Edges run both ways between a device and the links
of its interfaces (`interface`: the frozen value), between hosts or subnets and their link, and from a
service to its hosts (`weight`). The graph has `name`, `internet` and `down` (tuples of links), `zones` (the declared
ones: a tuple of the frozen values; it may also be given as a mapping of names to lists of links), `source_ports` (a pair,
or None) and `assumptions` (what the site does not say).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from netsim.errors import QuestionError
from netsim.topology.model import Device, Host, Service, Subnet, Zone
from netsim.topology.network import Network

_KEYS: dict[str, type] = {"device": Device, "host": Host, "subnet": Subnet, "service": Service}


def to_graph(network: Network) -> Any:
    """A frozen `networkx.MultiDiGraph`; a link's node is named `link:NAME`."""
    import networkx

    graph: Any = networkx.MultiDiGraph(
        name=network.name,
        internet=network.internet,
        down=network.down,
        source_ports=network.source_ports,
        zones=network.declared_zones,
        assumptions=network.assumptions,
    )

    def link(name: str) -> str:
        node = f"link:{name}"
        graph.add_node(node, kind="link", link=name, internet=name in network.internet)
        return node

    for device in network.devices.values():
        graph.add_node(device.name, kind="device", device=device)
        for interface in device.interfaces:
            if interface.link:
                there = link(interface.link)
                graph.add_edge(device.name, there, interface=interface)
                graph.add_edge(there, device.name, interface=interface)
    for kind, found in (("host", network.hosts), ("subnet", network.subnets)):
        for each in found.values():
            graph.add_node(each.name, kind=kind, **{kind: each})
            there = link(each.link)
            graph.add_edge(each.name, there)
            graph.add_edge(there, each.name)
    for service in network.services.values():
        graph.add_node(service.name, kind="service", service=service)
        for host, weight in service.instances:
            graph.add_edge(service.name, host, weight=weight)
    return networkx.freeze(graph)


def from_graph(graph: Any) -> Network:
    """The network of a graph with the attributes above; edges are not needed, the values hold them.

    A node may also give its values as plain data of the site schema (`kind="host", address=..., link=...`).
    Raises `QuestionError` for a node without a kind, `InputError` for values that a site would refuse.
    """
    values: dict[str, dict[str, Any]] = {kind: {} for kind in _KEYS}
    plain: dict[str, dict[str, Any]] = {kind: {} for kind in _KEYS}
    for node, data in graph.nodes(data=True):
        kind = data.get("kind")
        if kind == "link":
            continue
        if kind not in _KEYS:
            raise QuestionError.of(
                f"node {str(node)[:60]!r} has no kind",
                code="NS303",
                hint=f"kind is one of {', '.join(_KEYS)}, link",
            )
        value = data.get(kind)
        if isinstance(value, _KEYS[kind]):
            values[kind][str(node)] = value
        else:
            plain[kind][str(node)] = {k: v for k, v in data.items() if k != "kind"}
    given = graph.graph.get("internet", ())
    internet = (given,) if isinstance(given, str) else tuple(given)
    name, down = graph.graph.get("name", ""), tuple(graph.graph.get("down", ()))
    zones = graph.graph.get("zones", ())
    if isinstance(zones, Mapping):
        if not any(plain.values()):
            zones = tuple(Zone(str(z), tuple(links)) for z, links in zones.items())
    elif any(plain.values()):
        zones = {z.name: list(z.links) for z in zones}
    if not any(plain.values()):
        assumptions = tuple(graph.graph.get("assumptions", ()))
        return Network(
            values["device"], values["host"], values["service"], values["subnet"], internet, name,
            assumptions=assumptions, down=down, declared_zones=zones,
            source_ports=graph.graph.get("source_ports"),
        )  # fmt: skip
    site: dict[str, Any] = {f"{kind}s": found for kind, found in plain.items() if found}
    site["name"] = name
    if zones:
        site["zones"] = dict(zones)
    if internet:
        site["internet"] = {"links": list(internet)}
    if any(values.values()):
        raise QuestionError.of("a graph gives its nodes as values or as plain data, not both", code="NS303")
    return attrs.evolve(Network.build(**site), down=down)
