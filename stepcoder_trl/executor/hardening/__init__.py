"""Layers of isolation that keep an untrusted program from harming the machine, made by `prepare.prepare`."""
