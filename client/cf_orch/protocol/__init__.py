"""The wire: what is said between client, sidecar and coordinator, and how a no is said.

``messages`` holds what goes in and out, ``operations`` the table of all calls, ``errors`` the problems and their HTTP
status, ``sizes`` and ``priorities`` how amounts and classes are written.
"""
