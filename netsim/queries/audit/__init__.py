"""Audits: what is wrong, dangerous or superfluous in rule sets, devices and networks, each with its proof."""

from netsim.queries.audit.finding import CODES, Audit, Finding, Severity
from netsim.queries.audit.network import audit_network
from netsim.queries.audit.rules import audit_index, audit_rules

__all__ = ["CODES", "Audit", "Finding", "Severity", "audit_index", "audit_network", "audit_rules"]
