"""Why a request got no server.

Each is also the built-in error that says the same, so that a caller may catch either.

RuntimeError <- NoModelsAvailableError    no server has any model: none answers, or none lets us in
ValueError   <- ModelNotAvailableError    some server has models, and none has this one
TimeoutError <- DispatcherTimeoutError    a server has it, and no slot became free in time
"""

__all__ = ["DispatcherTimeoutError", "ModelNotAvailableError", "NoModelsAvailableError"]


class NoModelsAvailableError(RuntimeError):
    """No server of the pool has any model; the text holds what each server last answered."""


class ModelNotAvailableError(ValueError):
    """No server of the pool has this model; the text holds what each dead server last answered."""


class DispatcherTimeoutError(TimeoutError):
    """No slot for the model became free in time; the text says what each server that has it was busy with."""
