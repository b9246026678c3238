"""Several OpenAI-compatible servers behind one queue.

from cf_orch.pool import ConcurrentDispatcher, ServerPool

async with ServerPool(["http://gpu0:1234", "http://gpu1:1234"]) as pool:
    dispatcher = ConcurrentDispatcher(pool)
    async with dispatcher.server("qwen2.5-7b") as url:
        answer = await client.post(f"{url}/v1/chat/completions", json=...)
"""

from cf_orch.pool.blocking import BlockingDispatcher
from cf_orch.pool.dispatcher import ConcurrentDispatcher
from cf_orch.pool.errors import DispatcherTimeoutError, ModelNotAvailableError, NoModelsAvailableError
from cf_orch.pool.pool import ServerPool
from cf_orch.pool.server import ServerConfig

__all__ = [
    "BlockingDispatcher",
    "ConcurrentDispatcher",
    "DispatcherTimeoutError",
    "ModelNotAvailableError",
    "NoModelsAvailableError",
    "ServerConfig",
    "ServerPool",
]
