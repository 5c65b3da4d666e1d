from cnnlab.tasks.visualize.command import run

__all__ = ["run"]
