from cnnlab.tasks.stylize.command import run

__all__ = ["run"]
