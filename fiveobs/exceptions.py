"""Every exception that fiveobs defines.

::

    FiveobsError
    ├── ConfigError      a setting that cannot be used; configure() and the command line raise it
    ├── DeliveryError    a destination did not take a batch; never leaves a shipper
    └── BadInputError    an argument that cannot be used; only the command line shows it
    JobStopped           someone asked this job to stop; raised by Job.checkpoint()

``JobStopped`` derives from ``BaseException`` so that a job's own ``except Exception`` does not
turn a requested stop into an ordinary failure, for the reason ``asyncio.CancelledError`` does.
"""

from __future__ import annotations

__all__ = ["BadInputError", "ConfigError", "DeliveryError", "FiveobsError", "JobStopped"]


class FiveobsError(Exception):
    """The base of every error of ours; catching it catches nothing that is not ours."""


class ConfigError(FiveobsError):
    """A setting has a value that cannot be used.

    The message names the setting, the value (masked if it is a secret) and what would be valid.
    """


class BadInputError(FiveobsError):
    """An argument cannot be used; the message names it and says what would be valid."""


class DeliveryError(FiveobsError):
    """A destination did not take a batch.

    Args:
        message: What went wrong and what to look at, in one line.
        retry_after_s: How long the destination asked us to wait, in seconds; ``None`` if it did
            not say.
        permanent: ``True`` when the destination refused this batch for good, so sending it again
            cannot help: the batch is dropped and counted.
    """

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, permanent: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.permanent = permanent


class JobStopped(BaseException):
    """Someone asked this job to stop; it ends as ``stopped``."""
