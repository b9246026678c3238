"""``cf-orch demo``: two real models take turns in a budget of this machine's RAM that does not hold both.

The demo starts a coordinator and two products, each a process of its own that knows nothing but the client library.
A product holds its model in one more process, which it attaches to its lease, and ends to give the memory back.

    command      asks whether the parts may be installed, and tells how it went
    parts        what is installed, and how large it is
    environment  builds the environment that they live in, whole or not at all
    processes    starts processes, listens to them, and leaves none behind
    stage        runs the coordinator and the products, and keeps the record
    record       what happened, as data
    verdict      whether it is what was promised
    timeline     what happened, in words
    product      the frame of a product; transcriber and writer are the two
    whisper_engine, llama_engine   the processes that hold the models
"""
