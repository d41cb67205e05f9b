"""Pairs of a true and a falsified summary of a real post, with the characters that are false.

    python docs/experiments/altered.py posts.jsonl OUT [--seed 0] [--held-out 24] [--of-each 8]

`posts.jsonl` has `post` and `summaries` (a map to texts) in each line. OUT gets, in the format of `credit --data`:

    train.jsonl        pairs of the training posts; half of them mirrored (see below), each prompt's pairs in one slice of a batch
    held-out.jsonl     one false word a summary, posts that no training pair has
    mirrored.jsonl     the same, mirrored
    two.jsonl          two false words a summary, held-out posts
    no-post.jsonl      held-out.jsonl without the posts: what is unlikely whatever the post says

A word is altered if it is a number, or in the tables of `words.py` (names, places, relations, times), and is in the post as in the
summary, there once. Each such word of a post has one substitute, of the same kind, that is nowhere in the post or in its summaries.

Words have a likelihood of their own: a substitute that is always wrong could be learned as a bad word. So half of the pairs are
mirrored: in post and summaries alike every word is replaced by its substitute, and the falsified summary is the one that has the
original word. Over both halves each word is as often right as wrong, and only the post says which it is.
"""

import argparse
import json
import pathlib
import random
from collections import defaultdict

from epoch_order import arranged
from words import concepts_in, substitute

SHORTEST, LONGEST = 100, 480


def replaced(text, substitutes, only=None):
    """The text with words replaced by their substitutes, and the characters that the new words have."""
    found = [(match, concept) for concept in substitutes for match in concept.matches(text)]
    parts, spans, at, length = [], [], 0, 0
    for match, concept in sorted(found, key=lambda pair: pair[0].start()):
        if only is not None and concept not in only:
            continue
        new = concept.written_as(match.group(), substitutes[concept])
        parts += [text[at : match.start()], new]
        length += match.start() - at
        spans.append([length, length + len(new)])
        at, length = match.end(), length + len(new)
    return "".join([*parts, text[at:]]), spans


def substitutes_of(record, rng):
    """A substitute for each word that the post and one of its summaries have."""
    texts = [record["post"], *record["summaries"].values()]
    in_summaries = {concept for text in texts[1:] for concept in concepts_in(text)}
    taken, found = set(), {}
    for concept in concepts_in(texts[0]):
        if concept in in_summaries and (other := substitute(concept, texts, taken, rng)):
            found[concept] = other
            taken.add(other)
    return found


def candidates(record, substitutes, n_false):
    """Each summary with the words that it has once, in the order of the summaries."""
    for text in dict.fromkeys(record["summaries"].values()):
        once = [concept for concept in substitutes if len(concept.matches(text)) == 1]
        if SHORTEST <= len(text) <= LONGEST and len(once) >= n_false:
            yield text, once


def chosen_of(record, substitutes, n_false, of_each, rng):
    """Draws summaries and the words to falsify, the words that were used least first."""
    found, used, drawn = list(candidates(record, substitutes, n_false)), defaultdict(int), []
    rng.shuffle(found)
    while found and len(drawn) < of_each:
        rank = {id(pair): sorted(used[concept] for concept in pair[1])[:n_false] for pair in found}
        text, once = min(found, key=lambda pair: rank[id(pair)])
        found = [pair for pair in found if pair[0] != text]
        once = sorted(rng.sample(once, len(once)), key=lambda concept: used[concept])[:n_false]
        for concept in once:
            used[concept] += 1
        drawn.append((text, once))
    return drawn


def pair_of(record, text, false, substitutes, mirrored):
    post = record["post"]
    wrong, spans = replaced(text, substitutes, only=false)
    if mirrored:
        post, _ = replaced(post, substitutes)
        # All words but the false ones have their substitutes: those stay as they were.
        rest = {concept: other for concept, other in substitutes.items() if concept not in false}
        wrong, _ = replaced(text, rest)
        spans = [list(concept.matches(wrong)[0].span()) for concept in false]
        text, _ = replaced(text, substitutes)
    spans = sorted([start + 1, end + 1] for start, end in spans)
    return {
        "prompt": f"{post}\n\nTL;DR:",
        "chosen": f" {text}",
        "rejected": f" {wrong}",
        "spans": spans,
        "post": record["id"],
        "kinds": [concept.kind for concept in false],
    }


def pairs_of(record, n_false, of_each, mirrored, seed):
    rng = random.Random(f"{seed} {record['id']}")
    substitutes = substitutes_of(record, rng)
    drawn = chosen_of(record, substitutes, n_false, of_each, rng)
    return [pair_of(record, text, false, substitutes, mirrored) for text, false in drawn]


def in_slices(groups, seed):
    """Pairs in the order of training: four of one prompt next to each other, in a random order, the incomplete fours last."""
    fours = [group[at : at + 4] for group in groups for at in range(0, len(group), 4)]
    random.Random(seed).shuffle(fours)
    return [pair for four in sorted(fours, key=len, reverse=True) for pair in four]


def write(path, pairs):
    path.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
    kinds = defaultdict(int)
    for pair in pairs:
        for kind in pair["kinds"]:
            kinds[kind] += 1
    posts = len({pair["post"] for pair in pairs})
    print(f"{path.name}: {len(pairs)} pairs of {posts} posts; " + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("posts", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=24, help="posts held out")
    parser.add_argument("--of-each", type=int, default=8, help="pairs of a post at most, and as many mirrored")
    given = parser.parse_args()
    records = [json.loads(line) for line in given.posts.read_text().splitlines()]
    records = [record for record in records if pairs_of(record, 1, 1, False, given.seed)]
    random.Random(given.seed).shuffle(records)
    held_out, training = records[: given.held_out], records[given.held_out :]

    def of(some, n_false, mirrored):
        return [pair for record in some for pair in pairs_of(record, n_false, given.of_each, mirrored, given.seed)]

    groups = [pairs_of(record, 1, given.of_each, mirrored, given.seed) for record in training for mirrored in (False, True)]
    given.out.mkdir(parents=True, exist_ok=True)
    write(given.out / "train.jsonl", arranged(in_slices(groups, given.seed)))
    write(given.out / "held-out.jsonl", single := of(held_out, 1, False))
    write(given.out / "mirrored.jsonl", of(held_out, 1, True))
    write(given.out / "two.jsonl", of(held_out, 2, False))
    write(given.out / "no-post.jsonl", [{**pair, "prompt": "TL;DR:"} for pair in single])


if __name__ == "__main__":
    main()
