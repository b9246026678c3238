"""The writer: has texts of a few sentences written by a llama.cpp server that it asks over HTTP, streaming.

A model as small as this one would sometimes never come to an end.  A grammar holds it to whole sentences and to their
number, so that a text that ends by itself is a whole one.
"""

import http.client
import json
from urllib.parse import urlsplit

from cf_orch.sidecar.demo.engine import Engine
from cf_orch.sidecar.demo.product import Product, Result, serve_tasks

__all__ = ["PROMPTS", "SENTENCES", "SERVICE", "VRAM_GB", "gather"]

SERVICE = "writer"
VRAM_GB = 0.3
SENTENCES = 6
PROMPTS = (
    "Explain why it is good to take turns.",
    "Describe how bread is baked.",
    "Write about the sea in winter.",
    "Explain how two people can share one kitchen.",
    "Describe a quiet morning in a library.",
    "Explain what a library card is for.",
    "Write about a dog that learns to wait.",
    "Explain why neighbours share a garden.",
    "Explain how a queue works in a shop.",
)
GRAMMAR = f"root ::= {'sentence ' * SENTENCES}\n" + r'sentence ::= " "? [A-Z] [^.!?\n]+ [.!?]'
MOST_TOKENS = 1500
ANSWERS_WITHIN_S = 60.0


def _write(_engine: Engine, url: str, number: int) -> Result:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWERS_WITHIN_S)
    question = {
        "messages": [{"role": "user", "content": PROMPTS[number - 1]}],
        "grammar": GRAMMAR,
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
    serve_tasks(Product(SERVICE, "llm", VRAM_GB, "cf_orch.sidecar.demo.llama_engine", _write))
