"""`python -m fedsieve` is the command line."""

from fedsieve.cli import main

main()
