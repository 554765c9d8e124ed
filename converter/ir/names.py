"""Names that are unique where they stand: in a graph, or in the file that is written of it."""

from __future__ import annotations

from collections.abc import Iterable


class NameScope:
    """The names that are taken; a name that is wished for again gets a number: "x", "x_1", "x_2".

    A name reserved for a tensor still to come is taken for everybody but `rename`.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._variants = dict.fromkeys(taken, 0)  # name → the last number that was appended to it
        self._reserved: set[str] = set()

    def take(self, wish: str) -> str:
        """`wish`, with the first free number when it is taken; taken from then on."""
        name, k = wish, self._variants.get(wish, 0)
        while name in self._variants:
            k += 1
            name = f"{wish}_{k}"
        if k:
            self._variants[wish] = k
        self._variants[name] = 0
        return name

    def rename(self, old: str, wish: str) -> str:
        """Gives the name `old` back and takes `wish`, the reserved one where it is, else what `take` gives."""
        if old == wish:
            return old
        self._variants.pop(old, None)
        if wish in self._reserved:
            self._reserved.discard(wish)
            return wish
        return self.take(wish)

    def reserve(self, names: Iterable[str], anew: bool = False) -> None:
        """Keeps names for tensors still to come, which get them by `rename`; `anew` also those that were given up."""
        fresh = {n for n in names if anew or n not in self._variants}
        self._variants |= dict.fromkeys(fresh, 0)
        self._reserved |= fresh
