"""FedSieve: personalised federated learning, each client's own sparse model sieved out of a shared one."""

__version__ = "0.1.0"
