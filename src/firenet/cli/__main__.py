"""``python -m firenet.cli``."""

from firenet.cli.app import main

main()
