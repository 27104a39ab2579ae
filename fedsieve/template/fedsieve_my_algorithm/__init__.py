"""`server.py` has the server's half of my-algorithm, `client.py` the client's."""
