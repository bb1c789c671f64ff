"""The network: a frozen graph of devices, links, routes and rule sets, read from a site or built."""
