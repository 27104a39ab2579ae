"""Ditto for FedSieve: `server.py` has the server's half, `client.py` the client's."""
