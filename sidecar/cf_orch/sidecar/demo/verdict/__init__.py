"""Whether a run was what the demo promises; every claim can fail.

``findings`` asks all of them: ``whole`` is about the results of both acts, ``budget`` about the memory, ``yielding``
and ``falling_back`` about what each act is to show.
"""
