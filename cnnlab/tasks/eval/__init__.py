from cnnlab.tasks.eval.command import run

__all__ = ["run"]
