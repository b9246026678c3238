"""What of a model decides how much memory it takes while it runs, whatever kind of file it came from."""

import msgspec

__all__ = ["Architecture", "Layer"]


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer.  Widths count numbers per token; a width of 0 says that the layer has no such part."""

    #: what a token adds to the K cache and to the V cache
    k_width: int = 0
    v_width: int = 0
    #: tokens that the layer looks back on; None: all of them
    window: int | None = None
    #: state of a recurrent layer: so many bytes for each sequence, however long it is
    state_bytes: int = 0
    #: numbers that the attention, or the recurrence in its place, has in flight for each token
    mixer_width: int = 0
    #: numbers that the feed-forward part has in flight for each token, its experts in use together
    feed_forward_width: int = 0


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """A model's shape: `embd_width` numbers go from layer to layer for each token."""

    name: str
    embd_width: int
    vocabulary: int
    layers: tuple[Layer, ...]
    #: so many of the layers, the last, only predict further tokens: their weights are not loaded
    speculative_layers: int = 0
    #: numbers that stay in flight for each token from the first layer to the last, beside what goes between layers
    carried_width: int = 0
    #: the longest context that it was trained for, in tokens; None: it does not say
    trained_context: int | None = None
    #: what is not understood or not modelled: each makes the estimate less certain
    doubts: tuple[str, ...] = ()
