"""Updates as pycrdt writes them, and what a broken or evil client makes of updates."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pycrdt

WORDS = ("a", "hello", "é", "ß€", "😀", "x😀y", "שלום", "\x00", "👩‍👩‍👧", "z" * 150)


def value(rng: random.Random, depth: int = 0) -> Any:
    kinds: list[Any] = [
        lambda: rng.randrange(1000),
        lambda: -rng.randrange(10**9),
        lambda: rng.random(),
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice(WORDS),
        lambda: rng.randbytes(rng.randrange(30)),
        lambda: 2**40 + rng.randrange(100),
    ]
    if depth < 3:
        kinds.append(lambda: [value(rng, depth + 1) for _ in range(rng.randrange(4))])
        kinds.append(lambda: {f"k{i}": value(rng, depth + 1) for i in range(rng.randrange(4))})
    return rng.choice(kinds)()


class Person:
    """One pycrdt document that edits, and reads the log as far as it likes."""

    def __init__(self, client_id: int, log: list[bytes]) -> None:
        self.document: pycrdt.Doc[Any] = pycrdt.Doc(client_id=client_id)
        self.map = self.document.get("m", type=pycrdt.Map)
        self.array = self.document.get("a", type=pycrdt.Array)
        self.text = self.document.get("t", type=pycrdt.Text)
        self.xml = self.document.get("x", type=pycrdt.XmlFragment)
        self.read = 0
        self._log = log
        self._hearing = False
        self._subscription = self.document.observe(self._changed)

    def _changed(self, event: pycrdt.TransactionEvent) -> None:
        if not self._hearing and event.update != b"\x00\x00":
            self._log.append(event.update)

    def catch_up(self, to: int) -> None:
        self._hearing = True
        while self.read < to:
            self.document.apply_update(self._log[self.read])
            self.read += 1
        self._hearing = False

    def edit(self, rng: random.Random) -> None:
        what = rng.randrange(10)
        if what < 3:
            kinds: list[Callable[[], Any]] = [
                lambda: value(rng),
                lambda: pycrdt.Map({"x": value(rng)}),
                lambda: pycrdt.Array([value(rng), 1]),
                lambda: pycrdt.Text("t😀"),
            ]
            self.map[f"k{rng.randrange(6)}"] = rng.choice(kinds)()
        elif what == 3 and len(self.map):
            del self.map[rng.choice(sorted(self.map.to_py() or {}))]
        elif what == 4 and len(self.array):
            del self.array[rng.randrange(len(self.array))]
        elif what < 6:
            self.array.insert(rng.randrange(len(self.array) + 1), value(rng))
        elif what == 6:
            self.xml.children.append(pycrdt.XmlElement("p", {"a": "1"}, [pycrdt.XmlText("b")]))
        elif what == 7 and len(self.text):
            # Places are bytes of UTF-8: the end, or the start, is never within a character.
            self.text.format(0, len(self.text), {"bold": rng.choice([True, None, "x"])})
        elif what == 8 and len(self.text):
            del self.text[:]
        elif rng.random() < 0.2:
            self.text.insert_embed(0, {"image": value(rng, 3) is None})
        else:
            self.text += rng.choice(WORDS)


def life(rng: random.Random, steps: int) -> tuple[list[bytes], list[bytes]]:
    """(a log that can be taken in its order, other honest updates of the same document)."""
    log: list[bytes] = []
    ids = {rng.randrange(1, 2 ** rng.choice([5, 16, 32, 53])) for _ in range(9)}
    people = [Person(client_id, log) for client_id in sorted(ids)[:3]]
    extras: list[bytes] = []
    for _ in range(steps):
        person = rng.choice(people)
        if rng.random() < 0.4:
            person.catch_up(rng.randint(person.read, len(log)))
        if rng.random() < 0.2:
            with person.document.transaction():
                for _ in range(rng.randrange(1, 6)):
                    person.edit(rng)
        else:
            person.edit(rng)
        if rng.random() < 0.1:
            extras.append(person.document.get_update())
        if rng.random() < 0.1:
            extras.append(person.document.get_update(rng.choice(people).document.get_state()))
        if len(log) > 3 and rng.random() < 0.15:
            extras.append(pycrdt.merge_updates(*rng.sample(log, 3)))
        if len(log) > 3 and rng.random() < 0.1:
            extras.append(pycrdt.get_update(pycrdt.merge_updates(*log), person.document.get_state()))
    return log, extras


INTERESTING = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 31, 32, 63, 64, 127, 128, 129, 191, 192, 224, 240, 254, 255)


def mutate(rng: random.Random, update: bytes, others: list[bytes]) -> bytes:
    """One to four changes: bits, bytes, varints, splices, truncations, pieces of other updates."""
    data = bytearray(update)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if not data:
            break
        at = rng.randrange(len(data))
        match rng.randrange(9):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.choice(INTERESTING)
            case 2:
                data[at] = (data[at] + rng.choice((-1, 1))) & 255
            case 3:
                del data[at : at + rng.randrange(1, 6)]
            case 4:
                data[at:at] = rng.randbytes(rng.randrange(1, 4))
            case 5:
                del data[at:]
            case 6:
                other = rng.choice(others)
                begin = rng.randrange(len(other))
                data[at : at + rng.randrange(8)] = other[begin : begin + rng.randrange(12)]
            case 7:
                length = rng.randrange(1, 12)
                data[at:at] = data[at : at + length]
            case _:
                # A varint that grows or shrinks: the continuation bit, or another number in its place.
                number = rng.choice(
                    (0, 1, 127, 128, 2**14, 2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53, rng.randrange(300))
                )
                written = bytearray()
                while number > 127:
                    written.append(number & 127 | 128)
                    number >>= 7
                written.append(number)
                data[at : at + 1] = written
    return bytes(data)
