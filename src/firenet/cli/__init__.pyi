from firenet.cli.app import main as main
