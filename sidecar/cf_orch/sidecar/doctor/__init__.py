"""``cf-orch doctor``: what is wrong with this machine, why that matters, and what to do about it.

``machine.py`` is where every fact of the environment comes from; a family of checks is a file (``checks.py`` lists
them), each check a function from a machine to findings; ``checkup.py`` runs them side by side against a deadline.
``adapter.py`` is the doctor of PEFT adapters, which looks at a file and no machine.
"""
