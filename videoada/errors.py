"""Errors that a user can cause. The command line shows their one line, without a traceback, and exits with 2.

And `counted`, for the numbers in such lines.
"""

from __future__ import annotations


class VideoAdaError(Exception):
    """The request can't be met. The message says in one line what is wrong and what to do."""


class ConfigError(VideoAdaError):
    """An option is unknown, out of range, or contradicts another."""


class PromptError(VideoAdaError):
    """A prompt or a file of prompts can't be used."""


class ModelError(VideoAdaError):
    """A model can't be found, read, or used for what was asked."""


class OutputError(VideoAdaError):
    """A file can't be written where it was asked for."""


class ImageError(VideoAdaError):
    """An input image can't be read or used."""


class MetricError(VideoAdaError, ValueError):
    """A metric was given what it does not take."""


class ResourceError(VideoAdaError):
    """Memory ran out; the message names options that need less."""


def counted(count: int, noun: str, others: str | None = None) -> str:
    """ "1 video", "2 videos": `others` is the plural where it is not the noun with an s."""
    return f"{count} {noun if count == 1 else others or f'{noun}s'}"
