"""The order in which `train` visits the lines of a file in its first epoch, in the standard library alone.

`arranged(items, seed)` returns the items in such an order of lines that training visits them as they were given: pairs of one
prompt, given next to each other, then come into one slice of a batch, where their prompt is computed once. The order is
`mdp::chance::Order` (Fisher-Yates with ChaCha8); running this file checks it against the numbers that its test holds.
"""

import struct

WORD, LONG = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def key_of(state):
    """Eight words from a 64-bit seed, as rand_core's `seed_from_u64` (PCG32)."""
    for _ in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) & LONG
        word, turn = (((state >> 18) ^ state) >> 27) & WORD, state >> 59
        yield (word >> turn | word << (-turn & 31)) & WORD


def quarter(x, a, b, c, d):
    for left, right, by in ((a, b, 16), (c, d, 12), (a, b, 8), (c, d, 7)):
        x[left] = (x[left] + x[right]) & WORD
        other = {a: d, c: b}[left]
        mixed = x[other] ^ x[left]
        x[other] = (mixed << by | mixed >> (32 - by)) & WORD


def numbers(seed, stream):
    """Yields the 64-bit numbers of a ChaCha8 generator."""
    key, counter = list(key_of(seed)), 0
    while True:
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key]
        start += [counter & WORD, counter >> 32, stream & WORD, stream >> 32]
        x = list(start)
        for _ in range(4):
            for i in range(4):
                quarter(x, i, i + 4, i + 8, i + 12)
            for i in range(4):
                quarter(x, i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12)
        yield from struct.unpack("<8Q", struct.pack("<16I", *((a + b) & WORD for a, b in zip(x, start))))
        counter += 1


def order(seed, epoch, n):
    """The lines of an epoch in the order of their visits."""
    stream, lines = numbers(seed, epoch), list(range(n))
    for last in range(n - 1, 0, -1):
        product = next(stream) * (last + 1)
        while product & LONG < (1 << 64) % (last + 1):
            product = next(stream) * (last + 1)
        other = product >> 64
        lines[last], lines[other] = lines[other], lines[last]
    return lines


def arranged(items, seed=0):
    """The items as lines of a file of which the first epoch visits them in the order given here."""
    lines = [None] * len(items)
    for line, item in zip(order(seed, 0, len(items)), items):
        lines[line] = item
    return lines


if __name__ == "__main__":
    assert order(7, 3, 12) == [8, 6, 4, 0, 10, 5, 7, 11, 3, 9, 1, 2]
    assert order(0, 0, 5) == [4, 0, 2, 1, 3]
    print("as mdp::chance::Order")
