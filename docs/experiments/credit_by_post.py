"""What `credit --out` found, with intervals that know which answers are about the same post.

    pip install numpy
    python docs/experiments/credit_by_post.py DATA.jsonl CREDIT.jsonl     # what --data read, and what --out wrote

`credit` draws answers for its intervals; of one post there are several here, so this draws whole posts. It gives the measures of
`docs/credit.md` for each kind of credit, their differences to the log-ratio's, AUROC for each kind of falsified word, and, where
answers have two false words, how often both have a token among those of least credit.
"""

import json
import sys
from collections import defaultdict

import numpy

KINDS = {
    "log_ratio": "log-ratio (Eq. 11)",
    "bellman": "log-ratio less value",
    "value": "prefix-value difference",
    "policy": "policy alone",
    "reference": "reference alone",
    "position": "position",
    "length": "token length",
}
DRAWS = 1000


class Answer:
    """The measured tokens of an answer: credit of each kind, and the false word (from 0) that each is in, or -1."""

    def __init__(self, record, line):
        self.post, self.kinds = record["post"], record["kinds"]
        measured = [i for i, (start, end) in enumerate(line["offsets"]) if end > start]
        text = line["text"]
        self.word = numpy.array([word_of(text, line["offsets"][i], line["spans"]) for i in measured])
        assert ((self.word >= 0) == numpy.array(line["wrong"])[measured]).all(), "the wrong tokens of credit, by its rule"
        self.credit = {kind: numpy.array(line[kind])[measured] for kind in KINDS if kind in line}


def word_of(text, place, spans):
    start, end = place
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return next((i for i, (first, last) in enumerate(spans) if start < last and first < end), -1)


def read(data, credit):
    records = [json.loads(line) for line in open(data)]
    for line in map(json.loads, open(credit)):
        if line["side"] in ("rejected", "response"):
            yield Answer(records[line["index"]], line)


def auroc(credit, wrong):
    """The chance that a wrong token has less credit than a right one; ties count half."""
    values, inverse = numpy.unique(credit, return_inverse=True)
    bad, good = numpy.bincount(inverse, wrong, len(values)), numpy.bincount(inverse, ~wrong, len(values))
    above = good.sum() - numpy.cumsum(good)
    return (bad * (above + good / 2)).sum() / (bad.sum() * good.sum())


def average_precision(credit, wrong):
    values, inverse = numpy.unique(credit, return_inverse=True)
    bad, all_of = numpy.bincount(inverse, wrong, len(values)), numpy.bincount(inverse, minlength=len(values))
    return (bad * numpy.cumsum(bad) / numpy.cumsum(all_of)).sum() / bad.sum()


def pointing(answer, kind):
    least = answer.credit[kind] == answer.credit[kind].min()
    return (answer.word[least] >= 0).mean()


def measures(answers, kind):
    credit = numpy.concatenate([answer.credit[kind] for answer in answers])
    wrong = numpy.concatenate([answer.word >= 0 for answer in answers])
    return auroc(credit, wrong), average_precision(credit, wrong), numpy.mean([pointing(answer, kind) for answer in answers])


def both_found(answers, kind, n):
    """The share of answers of which every false word has a token among the n tokens of least credit."""
    found = [set(answer.word[numpy.argsort(answer.credit[kind], kind="stable")[:n]]) for answer in answers]
    return (numpy.mean([{0, 1} <= words for words in found]),)


def word_auroc(answers, kind, only):
    """AUROC of the tokens of some false words against all right tokens."""
    kept = [numpy.array([word < 0 or only(answer, word) for word in answer.word]) for answer in answers]
    credit = numpy.concatenate([answer.credit[kind][keep] for answer, keep in zip(answers, kept)])
    wrong = numpy.concatenate([answer.word[keep] >= 0 for answer, keep in zip(answers, kept)])
    return (auroc(credit, wrong) if wrong.any() else numpy.nan,)


def draws(answers):
    """The answers, then resamples of whole posts."""
    groups = defaultdict(list)
    for answer in answers:
        groups[answer.post].append(answer)
    groups, rng = list(groups.values()), numpy.random.default_rng(0)
    yield answers
    for _ in range(DRAWS):
        yield [answer for i in rng.integers(len(groups), size=len(groups)) for answer in groups[i]]


def shown(values):
    low, high = numpy.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.3f} ({low:.3f} to {high:.3f})"


def table(title, columns, answers, measure, differences=False):
    kinds = [kind for kind in KINDS if kind in answers[0].credit]
    found = {kind: numpy.array([measure(drawn, kind) for drawn in draws(answers)]) for kind in kinds}
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for kind in kinds:
        print(f"| {KINDS[kind]} | {' | '.join(shown(column) for column in found[kind].T)} |")
    if differences:
        for kind in kinds[1:]:
            print(f"| log-ratio minus {KINDS[kind]} | {' | '.join(shown(c) for c in (found['log_ratio'] - found[kind]).T)} |")


def main():
    answers = list(read(*sys.argv[1:3]))
    tokens = sum(len(answer.word) for answer in answers)
    wrong = sum((answer.word >= 0).sum() for answer in answers)
    print(f"{len(answers)} answers of {len({answer.post for answer in answers})} posts; wrong tokens {wrong} of {tokens}")
    table("credit", ["AUROC", "average precision", "pointing accuracy"], answers, measures, differences=True)
    if all(len(answer.kinds) == 2 for answer in answers):
        numbers = (2, 3, 5, 10)
        columns = [f"both in the {n} least" for n in numbers] + ["AUROC of the first", "of the second"]
        both = lambda drawn, kind: tuple(both_found(drawn, kind, n)[0] for n in numbers)
        alone = lambda drawn, kind: tuple(word_auroc(drawn, kind, lambda _, word, i=i: word == i)[0] for i in (0, 1))
        table("two false words", columns, answers, lambda drawn, kind: both(drawn, kind) + alone(drawn, kind))
        return
    of_kind = sorted({kind for answer in answers for kind in answer.kinds})
    columns = [f"{kind} ({sum(answer.kinds == [kind] for answer in answers)})" for kind in of_kind]
    by = lambda drawn, kind: tuple(
        word_auroc(drawn, kind, lambda answer, _, wanted=wanted: answer.kinds == [wanted])[0] for wanted in of_kind
    )
    table("AUROC by the false word", columns, answers, by)


if __name__ == "__main__":
    main()
