"""netsim: ask a network's firewalls a question and get a proof."""
