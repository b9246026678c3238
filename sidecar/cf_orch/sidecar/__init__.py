"""What stands beside a product: the observer of its host's devices, and ``run``, for any program under a lease."""
