"""The two acts of the demo, each a coroutine that lets the products do their jobs and waits for what is to happen."""
