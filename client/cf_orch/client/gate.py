"""Who is inside ``use()``: counted by any thread, let in or not by the I/O thread."""

import threading
from collections.abc import Callable

__all__ = ["Gate"]


class Gate:
    """A gate that counts who went in.  Whoever closes it knows whether anybody is left inside."""

    def __init__(self) -> None:
        """Begin open, with nobody inside."""
        self.on_empty: Callable[[], object] | None = None  #: called when the last one leaves a closed gate
        self._lock = threading.Lock()
        self._is_open = True
        self._inside = 0

    def enter(self, *, nested: bool) -> bool:
        """Go in, if it is open; one who is inside already (``nested``) passes a closed gate, or would wait for itself.

        That holds only while somebody is: a task that was begun inside may be there longer than who began it.
        """
        with self._lock:
            if not self._is_open and not (nested and self._inside):
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        """Go out."""
        with self._lock:
            self._inside -= 1
            is_last = self._inside == 0 and not self._is_open
        if is_last and self.on_empty is not None:
            self.on_empty()

    @property
    def is_open(self) -> bool:
        """True while whoever comes is let in."""
        return self._is_open

    def open(self) -> None:
        """Let in whoever comes."""
        with self._lock:
            self._is_open = True

    def close(self) -> bool:
        """Let nobody in any more; tell whether nobody is inside."""
        with self._lock:
            self._is_open = False
            return self._inside == 0
