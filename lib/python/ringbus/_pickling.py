# SPDX-License-Identifier: MIT
"""Rings are pickled by name, and opened again where they arrive: in a child of multiprocessing, say."""
import errno

from ringbus import _ringbus


def reopen(path, ring_id, read_only, owner):
    """The ring that was pickled; if another one has its name by now that is Stale."""
    ring = _ringbus.open(path, read_only=read_only, owner=owner)
    if ring.info().ring_id != ring_id:
        ring.close()
        raise _ringbus.Stale(errno.ESTALE, f"another ring has taken the place of the one at {path}")
    return ring


def reduce(self):
    if self.path is None:
        raise TypeError("a ring without a name cannot be pickled: pass its descriptor on, see Ring.fileno")
    return reopen, (self.path, self.info().ring_id, self.read_only, self._owner)
