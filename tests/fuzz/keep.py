"""Adds to the committed corpora what fuzzing found worth keeping.

    python tests/fuzz/keep.py --built FOLDER --work FOLDER --bytes 16000

`--built` and `--work` are those of `rotate.py`. Of every target's inputs those are kept that reach most edges per byte that neither a
committed input nor one kept before reaches, until they are `--bytes` bytes together, with some more for each as a file. They are
named `found-` and their hash.
"""

import argparse
import pathlib
import shutil
import tempfile

from rotate import HERE, LIMITS, ran, targets

# What a file costs beside its bytes.
OVERHEAD = 100


def edges(given, target, folders):
    """The edges that each input in these folders reaches, by path."""
    control = given.work / f"{target}.merge"
    control.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as empty:
        command = [str(given.built / target), "-set_cover_merge=1", "-use_counters=0", f"-merge_control_file={control}", "-timeout=600"]
        code, _ = ran([*command, *LIMITS, empty, *map(str, folders)], given.work / f"{target}.log")
    if code:
        raise SystemExit(f"{target}: the merge ended with {code}; see {given.work / target}.log")
    lines = control.read_text().splitlines()
    paths = [pathlib.Path(line) for line in lines[2 : 2 + int(lines[0])]]
    found = (line.split() for line in lines[2 + len(paths) :] if line.startswith("FT "))
    return {paths[int(number)]: set(reached) for _, number, *reached in found}


def chosen(found, known, limit):
    """The inputs that reach most new edges per byte, of so many bytes together."""
    sizes = {path: path.stat().st_size + OVERHEAD for path in found}
    while True:
        worth = {path: len(reached - known) / sizes[path] for path, reached in found.items() if sizes[path] <= limit}
        best = max(sorted(worth), key=worth.get, default=None)
        if best is None or not worth[best]:
            return
        known |= found[best]
        limit -= sizes[best]
        yield best


def keep(given, target):
    committed, corpus = HERE / "corpora" / target, given.work / "corpus" / target
    reached = edges(given, target, [committed, corpus])
    known = set().union(*(edges for path, edges in reached.items() if path.parent == committed))
    before = len(known)
    found = {path: edges for path, edges in reached.items() if path.parent == corpus}
    kept = list(chosen(found, known, given.bytes))
    for path in kept:
        shutil.copy(path, committed / f"found-{path.name[:10]}")
    total = len(known.union(*found.values()))
    size = sum(path.stat().st_size for path in kept)
    print(f"{target}: {len(kept)} of {len(found)} inputs, {size} bytes; edges: {before} before, {len(known)} now, {total} with all", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--built", type=pathlib.Path, required=True, help="the folder of the built targets")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--bytes", type=int, default=16000, help="of each target's inputs together")
    parser.add_argument("--only", nargs="*", help="only these targets")
    given = parser.parse_args()
    for target in given.only or targets():
        keep(given, target)


if __name__ == "__main__":
    main()
