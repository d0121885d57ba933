"""Programs on the nodes of a Ray cluster. Only `cluster.py` calls Ray."""
