"""Environments: the protocol, what is built in, adapters to public packages."""
