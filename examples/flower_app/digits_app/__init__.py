"""A PyTorch app of Flower's: handwritten digits, dealt to the nodes by class."""
