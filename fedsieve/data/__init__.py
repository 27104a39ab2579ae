"""Data: graphs and images by name or path, and the ways to deal them to clients. Import the module that you need."""
