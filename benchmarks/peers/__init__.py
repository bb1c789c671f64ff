"""Other classifiers on the same rows and the same records, each behind `Peer`."""
