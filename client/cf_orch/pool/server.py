"""One server of a pool: what is known of it, and a slot that was taken on it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

__all__ = ["AcquiredUrl", "ServerConfig"]


@dataclass(slots=True)
class ServerConfig:
    """An OpenAI-compatible server: how to reach it, and what the pool knows of it.

    ``url`` is where it answers (``/v1/models`` is below it; a ``/v1`` at its end is understood), ``api_key`` goes to it
    as a bearer token, ``server_type`` is the owner's own word for it.  ``max_concurrent`` is how many requests it
    takes at once.  All else is the pool's to write.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    server_type: str | None = None
    available_models: list[str] = field(default_factory=list)  #: as it last listed them; none while it is dead
    active_requests: int = 0  #: slots that are taken
    max_concurrent: int = 1
    current_model: str | None = None  #: what it runs; None when it is drained
    last_refresh_error: str | None = None  #: why it is dead; None while it is not
    resident_model: str | None = None  #: what it ran last, and so has in its memory still
    turn_began_at: float | None = None  #: when ``resident_model`` first answered here, by the pool's clock in seconds
    last_acquired_at: float = 0.0  #: when a slot was last taken, by the pool's clock in seconds

    def __post_init__(self) -> None:
        if self.max_concurrent < 1:
            raise ValueError(f"{self.url}: max_concurrent is at least 1, not {self.max_concurrent}")

    @property
    def is_busy(self) -> bool:
        """True when all its slots are taken."""
        return self.active_requests >= self.max_concurrent

    def describe(self) -> str:
        """What it does now, for an error's text."""
        if self.last_refresh_error is not None:
            return f"{self.url} is dead: {self.last_refresh_error}"
        running = f" of {self.current_model!r}" if self.current_model else ""
        return f"{self.url} runs {self.active_requests} of at most {self.max_concurrent} requests{running}"


class AcquiredUrl(str):
    """A server's url that remembers which of the server's slots it stands for.

    It is a string like any other, and gives its slot back once: a second release, or one that comes after the server
    died, finds nothing to give back, even when the server has returned and somebody else has a slot there.
    """

    __slots__ = ("life", "model", "on_release")

    life: int  #: how often the server had come back from the dead when the slot was taken
    model: str
    on_release: Callable[[], object] | None  #: called once, when the slot is free

    def __new__(cls, url: str, model: str, life: int) -> Self:
        """Only a pool makes them."""
        made = super().__new__(cls, url)
        made.life, made.model, made.on_release = life, model, None
        return made

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # a copy elsewhere holds no slot
