"""A realistic network of N zones, always the same for a seed: for tests and benchmarks.

Hub firewalls carry about ten zones each, IPv4 and IPv6, and filter what leaves and what enters a zone in
a chain of its own. Hubs meet at two spines, routers without rules; by the destination's hub, a packet goes
over one of them, so that ways are asymmetric where nothing tracks them. An edge firewall has the internet,
a published address (DNAT) and MASQUERADE. Each zone has two hosts; services have one to three instances
in different zones and a few zones that consume them; one zone administers all others over SSH, and one
gathers metrics. Nothing is unmodelled, except that a seed's share of hubs limits pings.
"""

from __future__ import annotations

import random
from typing import Any

PORTS = ("tcp/443", "tcp/80", "tcp/5432", "tcp/8080", "udp/53", "tcp/6379", "tcp/9092", "udp/514")
V6 = "2001:db8:{:x}:{:x}::"


def prefix4(zone: int) -> str:
    return f"10.{1 + zone // 200}.{zone % 200}"


def prefix6(zone: int) -> str:
    return f"2001:db8:1:{zone + 1:x}::"


def generate(
    zones: int = 100, *, seed: int = 1, per_hub: int = 10, doubts: float = 0.0, ports: int = 4
) -> dict[str, Any]:
    """The site as plain data for `Network.build`. `doubts` is the share of hubs that limit pings."""
    rng = random.Random(seed)
    names = [f"z{n:03}" for n in range(1, zones + 1)]
    hubs = [f"hub{n + 1:02}" for n in range((zones + per_hub - 1) // per_hub)]
    hub_of = [n // per_hub for n in range(zones)]
    hosts: dict[str, Any] = {}
    for n, name in enumerate(names):
        for i in (10, 11):
            hosts[f"{name}-h{i}"] = {
                "address": [f"{prefix4(n)}.{i}/24", f"{prefix6(n)}{i:x}/64"],
                "link": name,
            }
    services: dict[str, Any] = {}
    flows: list[tuple[int, int, str, str]] = []  # from zone, to zone, host, port
    for s in range(max(1, zones // 3)):
        port = PORTS[s % min(ports, len(PORTS))]
        homes = sorted(rng.sample(range(zones), min(zones, rng.choice((1, 1, 2, 3)))))
        instances = [f"{names[h]}-h{rng.choice((10, 11))}" for h in homes]
        services[f"svc{s + 1:02}"] = {"instances": instances, "ports": [port]}
        for user in rng.sample(range(zones), min(zones, rng.randint(2, 6))):
            flows += [(user, h, host, port) for h, host in zip(homes, instances, strict=True)]
    devices: dict[str, Any] = {}
    for k, hub in enumerate(hubs):
        mine = [n for n in range(zones) if hub_of[n] == k]
        interfaces: dict[str, Any] = {
            f"z{n + 1}": {"address": [f"{prefix4(n)}.1/24", f"{prefix6(n)}1/64"], "link": names[n]}
            for n in mine
        }
        for s in (0, 1):
            interfaces[f"up{s}"] = {
                "address": [f"172.16.{s}.{4 * k + 1}/30", f"{V6.format(2 + s, k)}1/64"],
                "link": f"{hub}-spine{s}",
            }
        routes: list[dict[str, Any]] = []
        for n in range(zones):
            if hub_of[n] != k:
                s = hub_of[n] % 2
                routes.append({"to": f"{prefix4(n)}.0/24", "via": f"172.16.{s}.{4 * k + 2}"})
                routes.append({"to": f"{prefix6(n)}/64", "via": f"{V6.format(2 + s, k)}2"})
        routes.append({"to": "0.0.0.0/0", "via": f"172.16.0.{4 * k + 2}"})
        routes.append({"to": "::/0", "via": f"{V6.format(2, k)}2"})
        limited = rng.random() < doubts
        devices[hub] = {
            "rules": [_hub_rules(mine, flows, hosts, v, limited) for v in (4, 6)],
            "interfaces": interfaces, "routes": routes, "ip_forward": True, "rp_filter": 0,
        }  # fmt: skip
    web = next(iter(services.values()))["instances"][0]
    for s in (0, 1):
        interfaces = {
            f"hub{k}": {
                "address": [f"172.16.{s}.{4 * k + 2}/30", f"{V6.format(2 + s, k)}2/64"],
                "link": f"{hub}-spine{s}",
            }
            for k, hub in enumerate(hubs)
        }
        interfaces["edge"] = {
            "address": [f"172.16.9.{4 * s + 2}/30", f"{V6.format(9, s)}2/64"],
            "link": f"edge-spine{s}",
        }
        devices[f"spine{s}"] = {
            "interfaces": interfaces,
            "ip_forward": True,
            "rp_filter": 0,
            "routes": [
                *(
                    {"to": f"{prefix4(n)}.0/24", "via": f"172.16.{s}.{4 * hub_of[n] + 1}"}
                    for n in range(zones)
                ),
                *({"to": f"{prefix6(n)}/64", "via": f"{V6.format(2 + s, hub_of[n])}1"} for n in range(zones)),
                {"to": "0.0.0.0/0", "via": f"172.16.9.{4 * s + 1}"},
                {"to": "::/0", "via": f"{V6.format(9, s)}1"},
            ],
        }
    devices["edge"] = {
        "rules": [_edge_rules(hosts[web]["address"], v) for v in (4, 6)],
        "ip_forward": True,
        "rp_filter": 0,
        "interfaces": {
            "wan": {"address": ["203.0.113.2/30", "2001:db8:ffff::2/64"], "link": "wan"},
            **{
                f"down{s}": {
                    "address": [f"172.16.9.{4 * s + 1}/30", f"{V6.format(9, s)}1/64"],
                    "link": f"edge-spine{s}",
                }
                for s in (0, 1)
            },
        },
        "routes": [
            *(
                {"to": f"{prefix4(n)}.0/24", "via": f"172.16.9.{4 * (hub_of[n] % 2) + 2}"}
                for n in range(zones)
            ),
            *({"to": f"{prefix6(n)}/64", "via": f"{V6.format(9, hub_of[n] % 2)}2"} for n in range(zones)),
            {"to": "0.0.0.0/0", "dev": "wan"},
            {"to": "::/0", "dev": "wan"},
        ],
    }
    return {
        "name": f"{zones} zones",
        "devices": devices,
        "hosts": hosts,
        "services": services,
        "internet": {"links": ["wan"]},
        "zones": {name: [name] for name in names},
    }


def _hub_rules(
    mine: list[int],
    flows: list[tuple[int, int, str, str]],
    hosts: dict[str, Any],
    version: int,
    limited: bool,
) -> str:
    """A hub's filter table: what leaves a zone, what enters one, each in its own chain."""
    v6 = version == 6
    icmp = "ipv6-icmp" if v6 else "icmp"

    def net(zone: int) -> str:
        return f"{prefix6(zone)}/64" if v6 else f"{prefix4(zone)}.0/24"

    host = "128" if v6 else "32"
    lines = [f"# Generated by {'ip6' if v6 else 'ip'}tables-save v1.8.9 on a hub", "*filter",
             ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]", ":LOGDROP - [0:0]"]  # fmt: skip
    lines += [f":{way}-z{n + 1} - [0:0]" for n in mine for way in ("from", "to")]
    lines += [
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
    ]
    if limited:
        echo = "--icmpv6-type 128" if v6 else "--icmp-type 8"
        lines.append(
            f"-A FORWARD -p {icmp} -m {'icmp6' if v6 else 'icmp'} {echo} -m limit --limit 5/sec -j ACCEPT"
        )
    lines += [f"-A FORWARD -i z{n + 1} -j from-z{n + 1}" for n in mine]
    lines += [f"-A FORWARD -o z{n + 1} -j to-z{n + 1}" for n in mine]
    lines.append("-A FORWARD -i z+ -o up+ -j ACCEPT")  # what the sender's own chain has not dropped
    lines.append("-A FORWARD -j LOGDROP")
    lines += ['-A LOGDROP -m limit --limit 10/min -j LOG --log-prefix "hub drop "', "-A LOGDROP -j DROP"]
    for n in mine:
        chain = f"from-z{n + 1}"
        lines += [
            f"-A {chain} ! -s {net(n)} -j LOGDROP",
            f"-A {chain} -p tcp -m tcp --dport 25 -j LOGDROP",
            f"-A {chain} -p tcp -m multiport --dports 135,139,445 -j LOGDROP",
            f"-A {chain} -j RETURN",
        ]
        chain = f"to-z{n + 1}"
        for user, home, name, port in flows:
            if home == n:
                kind, _, number = port.partition("/")
                address = hosts[name]["address"][1 if v6 else 0].partition("/")[0]
                lines.append(
                    f"-A {chain} -s {net(user)} -d {address}/{host} -p {kind} -m {kind} --dport {number} -j ACCEPT"
                )
        lines += [
            f"-A {chain} -s {net(0)} -p tcp -m tcp --dport 22 -j ACCEPT",
            f"-A {chain} -s {net(1)} -p tcp -m tcp --dport 9100 -j ACCEPT",
            f"-A {chain} -j LOGDROP",
        ]
    return "\n".join([*lines, "COMMIT", ""])


def _edge_rules(web: list[str], version: int) -> str:
    v6 = version == 6
    address = web[1 if v6 else 0].partition("/")[0]
    lines = [f"# Generated by {'ip6' if v6 else 'ip'}tables-save v1.8.9 on the edge"]
    if not v6:
        lines += ["*nat", ":PREROUTING ACCEPT [0:0]", ":POSTROUTING ACCEPT [0:0]",
                  f"-A PREROUTING -i wan -d 203.0.113.2/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination {address}:443",
                  "-A POSTROUTING -s 10.0.0.0/8 -o wan -j MASQUERADE", "COMMIT"]  # fmt: skip
    lines += ["*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]",
              "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
              f"-A FORWARD -i wan -d {address} -p tcp -m tcp --dport 443 -j ACCEPT",
              "-A FORWARD -o wan -p tcp -m multiport --dports 80,443 -j ACCEPT",
              "-A FORWARD -o wan -p udp -m udp --dport 53 -j ACCEPT", "COMMIT", ""]  # fmt: skip
    return "\n".join(lines)
