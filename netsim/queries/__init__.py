"""Questions and their answers: reachability, verdicts, and what is in a rule set."""
