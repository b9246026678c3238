"""When to look at the devices: each second, at once when memory is being given back, and often until it is there."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, repeat

__all__ = ["keep_looking"]

LOOK_EVERY_S = 1.0
LOOKS_AFTER_RELEASE_S = (0.0, 0.02, 0.05, 0.1)
LOOK_WHILE_COMING_BACK_EVERY_S = 0.25


async def keep_looking(look: Callable[[], Awaitable[bool]], wanted: asyncio.Event) -> None:
    """Look until ``look`` raises; it tells whether memory is still on its way back.

    ``wanted`` is set by whoever knows that some is being given back just now.
    """
    impatience: Iterator[float] = iter(())
    while True:
        wanted.clear()
        coming_back = await look()
        if wanted.is_set():
            impatience = chain(LOOKS_AFTER_RELEASE_S, repeat(LOOK_WHILE_COMING_BACK_EVERY_S))
        pause_s = next(impatience, LOOK_EVERY_S) if coming_back else LOOK_EVERY_S
        if await _wanted_within(wanted, pause_s):
            impatience = chain(LOOKS_AFTER_RELEASE_S[1:], repeat(LOOK_WHILE_COMING_BACK_EVERY_S))


async def _wanted_within(wanted: asyncio.Event, pause_s: float) -> bool:
    try:
        async with asyncio.timeout(pause_s):
            await wanted.wait()
    except TimeoutError:
        return False
    return True
