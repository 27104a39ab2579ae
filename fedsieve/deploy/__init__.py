"""Deployment over gRPC: keys, a trial on this machine, and runs on whatever SuperLink and SuperNodes there are."""
