"""Changes of a network's rules, as values: each step makes a new edit, the network stays untouched."""

from __future__ import annotations

import attrs

from netsim.errors import QuestionError, near_misses
from netsim.parsers.iptables.edit import parse_rule
from netsim.rules.model import Chain, Rule, RuleSet
from netsim.source import Source
from netsim.topology.model import Device
from netsim.topology.network import Network, bound


@attrs.frozen(slots=True)
class Edit:
    """A change in the making. `network` is the network after it, `steps` says what was done."""

    network: Network
    steps: tuple[str, ...] = ()

    def insert(self, chain: str, text: str, *, before: int | str | None = None) -> Edit:
        """Insert a rule, in the dialect's own text, into `device:table/chain`.

        `before` is a rule's number, id or `file:line`; without it the rule comes last. Raises
        `QuestionError` for what does not exist, `InputError` for a text that does not parse.
        """
        device, ruleset, found = self._chain(chain)
        position = len(found.rules) if before is None else self._position(found, before)
        rules = self._parse(text, device, ruleset, found, f"edit {len(self.steps) + 1}")
        changed = (*found.rules[:position], *rules, *found.rules[position:])
        place = f"before {before}" if before is not None else "at the end"
        return self._with(device, ruleset, found, changed, f"insert into {chain} {place}: {text}")

    def delete(self, rule: str) -> Edit:
        """Delete a rule, named by its id (`device:table/chain/number`) or by `file:line`."""
        device, ruleset, found, position = self._rule(rule)
        changed = found.rules[:position] + found.rules[position + 1 :]
        return self._with(device, ruleset, found, changed, f"delete {rule}: {found.rules[position].text}")

    def replace(self, rule: str, text: str) -> Edit:
        """Put another rule in the place of one."""
        device, ruleset, found, position = self._rule(rule)
        rules = self._parse(text, device, ruleset, found, f"edit {len(self.steps) + 1}")
        changed = (*found.rules[:position], *rules, *found.rules[position + 1 :])
        return self._with(device, ruleset, found, changed, f"replace {rule}: {text}")

    def _parse(
        self, text: str, device: Device, ruleset: RuleSet, chain: Chain, name: str
    ) -> tuple[Rule, ...]:
        rules = parse_rule(text, ruleset=ruleset, chain=chain.name, source=Source(pointer=name, text=text))
        scratch = attrs.evolve(ruleset, chains={chain.name: attrs.evolve(chain, rules=rules)})
        return bound(device, scratch, None).chains[chain.name].rules

    def _with(
        self, device: Device, ruleset: RuleSet, chain: Chain, rules: tuple[Rule, ...], step: str
    ) -> Edit:
        numbered = tuple(r if r.number == n else attrs.evolve(r, number=n) for n, r in enumerate(rules, 1))
        after = ruleset.replace([attrs.evolve(chain, rules=numbered)])
        rulesets = tuple(after if r is ruleset else r for r in device.rulesets)
        network = self.network.with_device(attrs.evolve(device, rulesets=rulesets))
        return Edit(network, (*self.steps, step))

    def _chain(self, name: str) -> tuple[Device, RuleSet, Chain]:
        device_name, colon, chain = name.partition(":")
        if not colon:
            raise QuestionError.of(
                f"{name[:60]!r} is no chain", code="NS305", hint="write device:table/CHAIN"
            )
        device = self.network.device(device_name)
        for ruleset in device.rulesets:
            if chain in ruleset.chains:
                return device, ruleset, ruleset.chains[chain]
        known = [c for r in device.rulesets for c in r.chains]
        raise QuestionError.of(
            f"{device_name} has no chain {chain[:60]!r}", code="NS305", hint=near_misses(chain, known)
        )

    def _position(self, chain: Chain, before: int | str) -> int:
        for position, rule in enumerate(chain.rules):
            if before in (rule.number, rule.id, rule.source.line_place):
                return position
        if before == len(chain.rules) + 1:
            return len(chain.rules)
        raise QuestionError.of(
            f"{chain.name} has no rule {str(before)[:60]!r}",
            code="NS306",
            hint=f"it has {len(chain.rules)} rules",
        )

    def _rule(self, name: str) -> tuple[Device, RuleSet, Chain, int]:
        found: list[tuple[Device, RuleSet, Chain, int]] = []
        known: list[str] = []
        for device in self.network.devices.values():
            for ruleset in device.rulesets:
                for chain in ruleset.chains.values():
                    for position, rule in enumerate(chain.rules):
                        if name in (rule.id, rule.source.line_place):
                            found.append((device, ruleset, chain, position))
                        known.append(rule.id)
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(chain.rules[p].id for _, _, chain, p in found[:4])
            raise QuestionError.of(f"{name[:60]!r} is more than one rule: {ids}", code="NS306")
        raise QuestionError.of(f"no rule {name[:60]!r}", code="NS306", hint=near_misses(name, known))
