from cnnlab.cli.verbs import main

__all__ = ["main"]
