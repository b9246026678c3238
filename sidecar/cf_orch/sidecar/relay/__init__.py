"""The relay: stands behind the sidecar's doors and speaks for each process of the product to the coordinator.

Theory of operation
-------------------
For each session that a process opens here, one session is kept with the coordinator (``upstream``), under the same id
and with the same facts; for each of its leases one claim of that session (``claim``).  These are the client's own
session and claim: outages, turns on this host, adoption, heartbeats and beliefs are theirs.  What is added here is

* ``lease``: a lease as the process knows it, while the coordinator's may be another one by now;
* ``session``: who must be told what, and how long it may believe (never longer than we do ourselves);
* ``sessions``: whose process has gone, or is silent;
* ``calls``: what each operation of the wire comes to;
* ``forward``: what we do not know, or only the coordinator can tell, goes to it as it is.
"""
