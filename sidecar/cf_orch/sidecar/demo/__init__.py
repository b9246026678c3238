"""``cf-orch demo``: two real models share a budget of this machine's RAM that does not hold both.

The demo starts a coordinator and two products, each a process of its own with a sidecar beside it; the products know
nothing but the client library.  A product holds its model in one more process, which it attaches to its lease, and ends
to give the memory back.

    command      asks whether the parts may be installed, and tells how it went
    parts        what is installed, and how large it is
    environment  builds the environment that they live in, whole or not at all
    play         the whole run, one act after the other
    script       what there is to do in it
    acts/        yielding, and falling back: what happens when
    stage        what an act can do; cast: who is on stage; processes: how they are started, and how none is left behind
    watching     the eye on the memory; turns: who waits while there is no coordinator
    record       what happened, as data
    verdict/     whether it is what was promised
    timeline     what happens, in words; picture, plot: the memory over time; summary: what is said in the end
    product      the frame of a product, said: what it is told and says; transcriber and writer are the two
    engine       the process that holds a product's model; whisper_engine and llama_engine are what runs in it
"""
