"""The writer: has a sentence written in each turn, by a llama.cpp server that it asks over HTTP, streaming."""

import http.client
import json
from urllib.parse import urlsplit

from cf_orch.sidecar.demo.product import Engine, Product, Result, serve_turns

__all__ = ["PROMPTS", "SERVICE", "VRAM_GB", "gather"]

SERVICE = "writer"
VRAM_GB = 0.3
PROMPTS = ("Write one sentence about a dog.", "Say in one sentence why it is good to take turns.")
MOST_TOKENS = 200
ANSWERS_WITHIN_S = 60.0


def _write(_engine: Engine, url: str, turn: int) -> Result:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWERS_WITHIN_S)
    question = {
        "messages": [{"role": "user", "content": PROMPTS[turn - 1]}],
        "max_tokens": MOST_TOKENS,
        "temperature": 0,
        "stream": True,
    }
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(question), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise ValueError(f"the server answered {response.status}: {response.read(300)!r}")
        return gather(response)
    finally:
        connection.close()


def gather(response: http.client.HTTPResponse) -> Result:
    """Put a stream of server-sent events together; complete if the model ended by itself and the stream says so."""
    words: list[str] = []
    reason = None
    for line in response:
        data = line.decode().removeprefix("data:").strip()
        if data == "[DONE]":
            return Result("".join(words).strip(), reason == "stop")
        if data:
            choice = json.loads(data)["choices"][0]
            words.append(choice["delta"].get("content") or "")
            reason = choice["finish_reason"] or reason
    return Result("".join(words).strip(), complete=False)


if __name__ == "__main__":
    serve_turns(Product(SERVICE, "llm", VRAM_GB, "cf_orch.sidecar.demo.llama_engine", _write))
