"""PyTorch, imported so that its idle threads sleep; whoever needs torch here gets it from here.

By default a thread of its OpenMP (libgomp) that waits for the others keeps its core busy. Where a
second process wants that core, the thread that is waited for may not run at all, and a network
takes many times as long. libgomp reads the policy when it is loaded, that is, with torch.
"""

import os

from signsal_jax._extras import extra

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
torch = extra("torch", "bench")
