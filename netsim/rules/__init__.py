"""The vendor-neutral model of rules, and `evaluate`: one packet through one rule set, the specification."""
