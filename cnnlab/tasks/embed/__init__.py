from cnnlab.tasks.embed.command import run

__all__ = ["run"]
