"""The command line as a user runs it: output, JSON and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import netsim

DEMO = Path(netsim.__file__).parent / "demo_site"


def run(*arguments: object, stdin: str = "") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "netsim", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, check=False, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_demo() -> None:
    code, out, _ = run("demo")
    assert code == 0
    for words in ("fw1.rules:20", "20% of the users", "-A AUTH-DB -s 10.0.14.0/24 -j ACCEPT", "allowed"):
        assert words in out
    code, out, _ = run("demo", "--json")
    assert (code, json.loads(out)["during"]["share_cut_off"]) == (0, 0.2)


def test_the_readme_prints_what_the_program_prints() -> None:
    readme = Path(netsim.__file__).parents[1] / "README.md"
    block = readme.read_text().split("```text\n")[1].split("```")[0]
    assert block in run("demo")[1]


@pytest.mark.parametrize(("site", "code"), [("before", 0), ("during", 1), ("repaired", 0)])
def test_reach(site: str, code: int) -> None:
    found, out, _ = run("reach", "auth", "db", "tcp/5432", "--site", DEMO / site)
    assert found == code
    assert ("fw1.rules:20" in out) == (site == "during")
    found, out, _ = run("reach", "auth", "db", "tcp/5432", "--site", DEMO / site, "--json")
    answer = json.loads(out)
    assert answer["schema"] == 1
    assert {b["line"] for b in answer["blockers"]} == ({20} if code else set())
    assert run("reach", "auth4", "db", "--site", DEMO / "during", "--expect", "blocked")[0] == 0


def test_wrong_input_is_exit_2() -> None:
    code, out, err = run("reach", "auht", "db", "--site", DEMO / "before")
    assert (code, out) == (2, "")
    assert "did you mean 'auth'" in err
    assert run("show", "/nonexistent/file")[0] == 2
    assert run("frobnicate")[0] == 2
    assert run("test", DEMO / "before" / "fw1.rules")[0] == 2


PACKETS = [
    {"id": 1, "src": "10.0.14.10", "dst": "10.0.20.10", "proto": "tcp", "sport": 40000, "dport": 5432, "tcp_flags": "SYN", "iif": "eth4", "oif": "eth0"},
    {"id": "two", "src": "10.0.11.10", "dst": "10.0.20.10", "proto": "tcp", "sport": 40000, "dport": 5432, "state": "new", "iif": "eth1", "oif": "eth0"},
    {"id": 3, "src": "10.0.9.9", "dst": "10.0.1.1", "proto": "tcp", "sport": 40000, "dport": 22, "hook": "input", "iif": "eth9"},
    {"id": 4, "src": "10.0.20.10", "dst": "10.0.11.10", "proto": "tcp", "sport": 5432, "dport": 40000, "state": "reply", "iif": "eth0", "oif": "eth1"},
]  # fmt: skip


def test_test_prints_one_object_a_packet() -> None:
    lines = "\n".join(map(json.dumps, PACKETS))
    code, out, _ = run("test", DEMO / "during" / "fw1.rules", "--packets", "-", "--json", stdin=lines)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(r["id"], r["verdict"]) for r in rows] == [
        (1, "drop"),
        ("two", "accept"),
        (3, "accept"),
        (4, "accept"),
    ]
    assert rows[0]["decided_by"] == {
        "table": "filter", "chain": "AUTH-DB", "rule": 4, "file": str(DEMO / "during" / "fw1.rules"), "line": 20,
        "text": '-A AUTH-DB -s 10.0.14.0/24 -m comment --comment "CHG-2291 maintenance of rack 14" -j DROP',
    }  # fmt: skip
    assert [t["line"] for t in rows[0]["trail"]] == [13]
    assert rows[0]["after"] is None
    assert rows[1]["after"] == {
        "src": "10.0.11.10",
        "dst": "10.0.20.10",
        "sport": 40000,
        "dport": 5432,
        "mark": 0,
        "tos": 0,
    }
    assert (
        run("test", DEMO / "during" / "fw1.rules", "--packets", "-", "--expect", "accept", stdin=lines)[0]
        == 1
    )


def test_unknown_says_because(tmp_path: Path) -> None:
    rules = tmp_path / "x.rules"
    rules.write_text("*filter\n:FORWARD DROP\n-A FORWARD -m limit --limit 1/s -j ACCEPT\nCOMMIT\n")
    packet = json.dumps({"id": 1, "src": "1.1.1.1", "dst": "2.2.2.2", "proto": "udp", "sport": 1, "dport": 2})
    code, out, _ = run("test", rules, "--packets", "-", "--json", stdin=packet)
    row = json.loads(out)
    assert (code, row["verdict"], row["possible"]) == (0, "unknown", ["accept", "drop"])
    assert row["because"] == [
        {
            "file": str(rules),
            "line": 3,
            "text": "-A FORWARD -m limit --limit 1/s -j ACCEPT",
            "condition": "limit --limit 1/s",
        }
    ]
    assert row["decided_by"] is None
    assert run("test", rules, "--packets", "-", "--expect", "drop", stdin=packet)[0] == 3


NAT = """*nat
:PREROUTING ACCEPT
-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080
-A POSTROUTING -o eth1 -j MASQUERADE
COMMIT
*filter
:INPUT DROP
:FORWARD ACCEPT
-A INPUT -m addrtype --dst-type LOCAL -p tcp --dport 8080 -j ACCEPT
COMMIT
"""


def test_addresses_decide_masquerade_redirect_and_addrtype(tmp_path: Path) -> None:
    rules = tmp_path / "nat.rules"
    rules.write_text(NAT)
    base = {"src": "10.0.0.5", "dst": "9.9.9.9", "proto": "tcp", "sport": 4000, "iif": "eth0", "oif": "eth1"}
    lines = "\n".join(json.dumps({**base, "id": n, "dport": port}) for n, port in ((1, 80), (2, 443)))
    _, out, _ = run("test", rules, "--packets", "-", "--json", stdin=lines)
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["unknown", "unknown"]
    given = ("--address", "eth0=10.0.0.1/24", "--address", "eth1=192.0.2.1/24")
    _, out, _ = run("test", rules, "--packets", "-", "--json", *given, stdin=lines)
    redirected, masqueraded = (json.loads(line) for line in out.splitlines())
    assert redirected["verdict"] == masqueraded["verdict"] == "accept"
    assert redirected["after"]["dst"] == "10.0.0.1"
    assert redirected["after"]["dport"] == 8080
    assert redirected["decided_by"]["chain"] == "INPUT"
    assert masqueraded["after"]["src"] == "192.0.2.1"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "NS401"),
        ("[1]", "one JSON object"),
        ('{"sport": 70000, "proto": "tcp"}', "sport is 0-65535"),
        ('{"src": "x"}', "not an IP address"),
        ('{"colour": 1}', "unknown key"),
        ('{"state": "odd"}', "no connection state"),
        ('{"hook": "odd"}', "hook is forward"),
        ('{"src": "1.1.1.1", "dst": "::1"}', "different families"),
        ('{"src": 5}', "src is a text"),
        ('{"proto": "tcp", "tcp_flags": ["SYN"]}', "tcp_flags is a text"),
        ('{"proto": "tcp", "tcp_flags": true}', "tcp_flags is a text"),
        ('{"id": NaN}', "NaN is no JSON"),
        ("[" * 400, "Limits.json_depth"),
    ],
)
def test_bad_packets(tmp_path: Path, line: str, words: str) -> None:
    rules = tmp_path / "x.rules"
    rules.write_text("*filter\nCOMMIT\n")
    code, _, err = run("test", rules, "--packets", "-", stdin=line)
    assert code == 2
    assert words in err
    assert "<stdin>:1" in err


def test_what_is_left_out_of_the_state_follows_from_the_packet(tmp_path: Path) -> None:
    rules = tmp_path / "x.rules"
    states = ("NEW", "INVALID", "UNTRACKED")
    lines = [
        f"-A FORWARD -m conntrack --ctstate {s} -j {t}"
        for s, t in zip(states, ("ACCEPT", "DROP", "REJECT"), strict=True)
    ]
    rules.write_text("\n".join(["*filter", *lines, "COMMIT", ""]))
    flags = ("SYN", "ACK,PSH", "SYN,ACK", "RST", "NONE", "SYN,FIN")
    packets: list[dict[str, object]] = [{"proto": "tcp", "tcp_flags": f} for f in flags]
    packets += [{"proto": "icmp", "icmp_type": 8}, {"proto": "icmp", "icmp_type": 0}, {"proto": "tcp"}]
    text = "\n".join(json.dumps({"src": "10.0.0.1", "dst": "10.0.0.2", **p}) for p in packets)
    _, out, _ = run("test", rules, "--packets", "-", "--json", stdin=text)
    found = [json.loads(line)["verdict"] for line in out.splitlines()]
    assert found == ["accept", "accept", "drop", "drop", "drop", "drop", "accept", "drop", "accept"]
    rules.write_text(rules.read_text() + "# ip6tables -s fd00::1\n")
    ask = {"src": "fe80::1", "dst": "fe80::2", "proto": "icmpv6", "icmp_type": 135}
    _, out, _ = run("test", rules, "--packets", "-", "--json", stdin=json.dumps(ask))
    assert json.loads(out)["verdict"] == "reject"


def test_an_id_may_be_any_text(tmp_path: Path) -> None:
    rules = tmp_path / "x.rules"
    rules.write_text("*filter\nCOMMIT\n")
    code, out, _ = run("test", rules, "--packets", "-", "--json", stdin='{"id": "\\ud800 \u00e9"}')
    assert code == 0
    assert json.loads(out)["id"] == "\ud800 \u00e9"


def test_show() -> None:
    code, out, _ = run("show", DEMO / "during" / "fw1.rules")
    assert code == 0
    assert "17 rules, 16 modelled in full, 1 partly unmodelled" in out
    assert "limit --limit 5/min" in out
    code, out, _ = run("show", DEMO / "during", "--json")
    assert json.loads(out)["devices"][0]["rules"] == 17
    code, out, _ = run("show", DEMO / "during" / "fw1.rules", "--json")
    assert json.loads(out)["modelled"] == 16


def test_hostile_text_is_made_visible(tmp_path: Path) -> None:
    rules = tmp_path / "x.rules"
    rules.write_text(
        '*filter\n-A FORWARD -m comment --comment "\x1b[31m<b>\u202e" -m limit -j ACCEPT\nCOMMIT\n'
    )
    _, out, _ = run("show", rules)
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b" in out
    assert "<b>" not in netsim.parse(rules)._repr_html_()


def test_matrix() -> None:
    code, out, err = run("matrix", "--site", DEMO / "during")
    assert (code, err) == (0, "")
    assert "tcp/5432  1 blocked, 1 partial" in out
    assert "anything else" in out
    code, out, _ = run(
        "matrix", "--site", DEMO / "during", "--ends", "hosts", "--traffic", "tcp/5432", "--json"
    )
    answer = json.loads(out)
    assert (code, answer["schema"], answer["command"], answer["nothing_else"]) == (0, 1, "matrix", "no")
    assert answer["ends"] == ["auth1", "auth2", "auth3", "auth4", "auth5", "db1"]
    assert len(answer["cells"]) == len(answer["anything_else"]) == 36
    cells = {(c["src"], c["dst"]): c["status"] for c in answer["cells"]}
    assert (cells["auth1", "db1"], cells["auth4", "db1"], cells["db1", "db1"]) == ("allowed", "blocked", None)
    through = next(c for c in answer["anything_else"] if c["src"] == "auth1" and c["dst"] == "db1")["through"]
    assert not through["empty"]
    assert run("matrix", "--site", DEMO / "during", "--ends", "rows")[0] == 2
    code, out, err = run("matrix", "--site", DEMO / "during", "--traffic", "tpc/1")
    assert (code, out) == (2, "")
    assert "did you mean 'tcp'" in err


@pytest.mark.parametrize(
    ("rule", "code"),
    [("", 0), ("-A FORWARD -p gre -j ACCEPT\n", 1), ("-A FORWARD -m time --timestart 08:00 -j ACCEPT\n", 3)],
)
def test_matrix_and_nothing_else(tmp_path: Path, rule: str, code: int) -> None:
    (tmp_path / "fw.rules").write_text(
        "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
        f"-A FORWARD -p tcp --dport 22 -j ACCEPT\n{rule}COMMIT\n"
    )
    (tmp_path / "netsim.yaml").write_text(
        "devices: {fw: {rules: fw.rules, interfaces: {a: {address: 10.0.1.1/24, link: lan},"
        " b: {address: 10.0.2.1/24, link: dmz}}}}\nzones: {inside: [lan], outside: [dmz]}\n"
    )
    ask = ("matrix", "--site", tmp_path, "--traffic", "tcp/22", "--nothing-else")
    found, out, _ = run(*ask)
    assert found == code
    assert ("nothing else gets through on any pair" in out) == (code == 0)
    assert json.loads(run(*ask, "--json")[1])["nothing_else"] == {0: "yes", 1: "no", 3: "unknown"}[code]
    assert run(*ask[:-1])[0] == 0


def test_output_that_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    rules = tmp_path / "r.rules"
    rules.write_text('*filter\n:FORWARD DROP\n-A FORWARD -m string --string "é" --algo bm -j DROP\nCOMMIT\n')
    for more in ((), ("--json",)):
        done = subprocess.run(
            [sys.executable, "-m", "netsim", "show", str(rules), *more],
            capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if more:
            assert "é" in str(json.loads(done.stdout))


def test_show_says_which_file_is_missing(tmp_path: Path) -> None:
    code, _, errors = run("show", tmp_path / "gone.rules")
    assert (code, errors) == (2, f"{tmp_path}/gone.rules: NS120 there is no such file or folder\n")


def test_fix(tmp_path: Path) -> None:
    ask = ("fix", "auth", "db", "tcp/5432", "--site")
    code, out, _ = run(*ask, DEMO / "during")
    assert code == 0
    assert "iptables -I AUTH-DB 4 -s 10.0.14.10/32" in out.replace("\n", " ") and "and nothing else" in out
    code, out, _ = run(*ask, DEMO / "during", "--json")
    answer = json.loads(out)
    assert (code, answer["schema"], answer["command"], answer["status"]) == (0, 1, "fix", "found")
    (edit,) = answer["edits"]
    assert (edit["kind"], edit["place"], edit["number"]) == ("insert", "fw1.rules:20", 4)
    assert answer["besides"] == [] and answer["opened"]["witness"]["src"] == "10.0.14.10"
    assert [c["kind"] for c in answer["changes"]] == ["gained"]
    assert run(*ask, DEMO / "before")[0] == 0
    site = (DEMO / "during" / "netsim.yaml").read_text()
    for name in ("fw1.rules", "fw2.rules"):
        (tmp_path / name).write_text((DEMO / "during" / name).read_text())
    (tmp_path / "netsim.yaml").write_text(
        site.replace("- {to: 10.0.20.0/24, via: 10.0.1.2}", "- blackhole 10.0.20.0/24")
    )
    code, out, _ = run(*ask, tmp_path)
    assert code == 1 and "blackhole" in out
    code, out, err = run("fix", "auht", "db", "--site", DEMO / "during")
    assert (code, out) == (2, "") and "did you mean 'auth'" in err
    assert run(*ask, DEMO / "during", "--keep", "one")[0] == 2


def test_fix_close() -> None:
    ask = ("fix", "auth1", "db", "tcp/5432", "--close", "--site", DEMO / "before", "--json")
    code, out, _ = run(*ask, "--keep", "auth2 db tcp/5432")
    answer = json.loads(out)
    assert (code, answer["closing"], answer["after"]) == (0, True, "blocked")
    assert answer["besides"] == [] and answer["kept"] == [
        {"src": "auth2", "dst": "db", "traffic": "tcp/5432"}
    ]
    code, out, _ = run(*ask, "--keep", "auth db")
    assert (code, json.loads(out)["impossible"][0]["kind"]) == (1, "expectation")
