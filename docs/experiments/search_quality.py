"""Search on a policy that learned from preferences: implicit reward, length and judged quality against evaluations.

    pip install numpy matplotlib
    python docs/experiments/search_quality.py prepare HELD_OUT.jsonl DIR             # what a judge learns from, and what is asked
    hybrid-dpo search --prompts DIR/asked.jsonl .. --out DIR/METHOD-SCORE-WIDTH.jsonl  # as search.md says; sample.jsonl is needed
    python docs/experiments/search_quality.py records DIR                            # every answer once, in DIR/answers.jsonl
    hybrid-dpo score --model POLICY --reference MODEL --data DIR/answers.jsonl --out DIR/policy-scores.jsonl
    hybrid-dpo score --model JUDGE --reference MODEL --data DIR/answers.jsonl --out DIR/judge-scores.jsonl
    python docs/experiments/search_quality.py report DIR OUT.svg

`score` puts an end token behind every answer; of answers that were cut off it is not counted. Best-of-n is computed from the
samples in sample.jsonl, as the mean over all sets of n of them. Intervals are bootstraps that draw prompts.
"""

import json
import pathlib
import random
import re
import sys
from collections import defaultdict
from math import comb

BETA, DRAWS, NS = 0.1, 1000, (1, 2, 4, 8, 16)
POLITE = re.compile(
    r"\b(please|thank|thanks|sorry|apologi[sz]e|kindly|certainly|of course|appreciate|glad|happy to|pleasure|"
    r"could|would|may i|might|welcome|feel free|i hope|let me know|assist|wonderful|respectfully)\b", re.IGNORECASE
)
RUDE = re.compile(
    r"\b(obviously|duh|stupid|dumb|idiot|moron|whatever|shut up|ridiculous|pathetic|lazy|useless|silly|boring|"
    r"get it|look it up|figure it out|come on|seriously|who cares|hell|damn|crap|for your information|"
    r"if you must know|common sense|everyone knows|you should know|don't bother|waste)\b", re.IGNORECASE
)
COLUMNS = {
    "implicit": "implicit reward",
    "judge": "judge's reward",
    "wins": "judge: better than a sample",
    "manner": "words: polite less rude",
    "length": "tokens",
    "ended": "came to its end",
    "fluency": "reference, nats a token",
}


def lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


def write(path, records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    print(f"{path}: {len(records)}")


def manner(text):
    """1: a polite word or more and no rude one; -1: a rude one; else 0."""
    return -1 if RUDE.search(text) else 1 if POLITE.search(text) else 0


def prepare(held_out, folder):
    """Halves the prompts: the judge learns from the pairs of one half, the other half is asked."""
    pairs, folder = lines(held_out), pathlib.Path(folder)
    prompts = sorted({pair["prompt"] for pair in pairs})
    random.Random(0).shuffle(prompts)
    judged = set(prompts[: len(prompts) // 2])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "judge.jsonl", [pair for pair in pairs if pair["prompt"] in judged])
    rest = [pair for pair in pairs if pair["prompt"] not in judged]
    write(folder / "judge-held-out.jsonl", rest)
    write(folder / "asked.jsonl", [{"prompt": prompt} for prompt in dict.fromkeys(pair["prompt"] for pair in rest)])
    sign = [manner(pair["chosen"]) - manner(pair["rejected"]) for pair in pairs]
    right, wrong = sum(s > 0 for s in sign), sum(s < 0 for s in sign)
    print(f"words: {right} of {len(sign)} held-out pairs right, {wrong} wrong, {len(sign) - right - wrong} equal")


def found_in(folder):
    """The lines of each search, by the name of its file."""
    skipped = {"judge", "judge-held-out", "asked", "answers", "policy-scores", "judge-scores"}
    found = {path.stem: lines(path) for path in sorted(pathlib.Path(folder).glob("*.jsonl")) if path.stem not in skipped}
    # `score` takes no empty answer, so a prompt with one is left out of all methods.
    empty = {line["prompt"] for answers in found.values() for line in answers if not line["response"]}
    return {name: [line for line in answers if line["prompt"] not in empty] for name, answers in found.items()}


def records(folder):
    answers = dict.fromkeys((line["prompt"], line["response"]) for found in found_in(folder).values() for line in found)
    write(pathlib.Path(folder) / "answers.jsonl", [{"prompt": p, "completion": r} for p, r in answers])


class Scores:
    """Implicit rewards of answers from the files of `score`."""

    def __init__(self, folder):
        keys = [(line["prompt"], line["completion"]) for line in lines(folder / "answers.jsonl")]
        self.of = {name: dict(zip(keys, lines(folder / f"{name}-scores.jsonl"))) for name in ("policy", "judge")}
        self.others = 0

    def reward(self, name, line):
        """The sum of beta log-ratios of an answer, and its mean reference log-probability."""
        side = self.of[name][line["prompt"], line["response"]]["completion"]
        self.others += name == "policy" and side["tokens"][: len(line["tokens"])] != line["tokens"]
        n = len(side["tokens"]) - (not line["finished"])
        policy, reference = sum(side["log_probs"][:n]), sum(side["reference_log_probs"][:n])
        return BETA * (policy - reference), reference / n


def measured(line, scores):
    implicit, fluency = scores.reward("policy", line)
    return {
        "implicit": implicit,
        "judge": scores.reward("judge", line)[0],
        "manner": manner(line["response"]),
        "length": line["length"],
        "ended": line["finished"],
        "fluency": fluency,
        "log_prob": line["log_prob"],
    }


def by_prompt(found, scores):
    answers = defaultdict(list)
    for line in found:
        answers[line["prompt"]].append(dict(measured(line, scores), evaluations=line["evaluations"]))
    return answers


def best_of(answers, n, by):
    """What the best of n samples is on average, over all sets of n; `by` may be absent, for one sample."""
    ranked = sorted(answers, key=lambda answer: -answer[by])
    share = [comb(len(ranked) - 1 - i, n - 1) / comb(len(ranked), n) for i in range(len(ranked))]
    mean = {name: sum(s * answer[name] for s, answer in zip(share, ranked)) for name in ranked[0]}
    models = 2 if by == "implicit" else 1
    return dict(mean, evaluations=ranked[0]["evaluations"] * n / len(ranked) * models)


def with_wins(row, answers):
    """Adds how often the judge prefers an answer to a sample of its prompt; equal rewards count half."""
    for answer in row:
        rivals = [other["judge"] for other in answers]
        better = sum((answer["judge"] > rival) + (answer["judge"] == rival) / 2 for rival in rivals)
        answer["wins"] = better / len(rivals)
    return row


def methods(folder):
    """For each method a mapping from prompts to the mean measures of what it found."""
    scores = Scores(folder)
    found = {name: by_prompt(answers, scores) for name, answers in found_in(folder).items()}
    samples = found.pop("sample")
    for name in found:
        for prompt, answers in found[name].items():
            with_wins(answers, samples[prompt])
    for prompt, answers in samples.items():
        with_wins(answers, answers)
    table = {("one sample", "", 1): {prompt: best_of(answers, 1, "log_prob") for prompt, answers in samples.items()}}
    for by, shown in (("log_prob", "likelihood"), ("implicit", "implicit")):
        for n in NS[1:]:
            table["best-of", shown, n] = {prompt: best_of(answers, n, by) for prompt, answers in samples.items()}
    for name, answers in found.items():
        method, score, width = name.split("-")
        table[method, score, int(width)] = {prompt: group[0] for prompt, group in answers.items()}
    print(f"tokens that the text does not give again: {scores.others} answers\n")
    return table


def intervals(rows, names):
    """Means over prompts and 95% intervals of them."""
    import numpy

    values = numpy.array([[row[name] for name in names] for row in rows], dtype=float)
    rng = numpy.random.default_rng(0)
    means = numpy.array([values[rng.integers(len(values), size=len(values))].mean(0) for _ in range(DRAWS)])
    low, high = numpy.percentile(means, [2.5, 97.5], axis=0)
    return dict(zip(names, zip(values.mean(0), low, high)))


def report(folder, out):
    table = methods(pathlib.Path(folder))
    names = [*COLUMNS, "log_prob", "evaluations"]
    found = {key: intervals(list(rows.values()), names) for key, rows in table.items()}
    order = {"one sample": 0, "greedy": 1, "best-of": 2, "beam": 3}
    keys = sorted(found, key=lambda key: (key[1] == "implicit", order[key[0]], key[2]))
    print(f"| method | evaluations | {' | '.join(COLUMNS.values())} |\n|---|---|{'---|' * len(COLUMNS)}")
    for key in keys:
        method = " ".join([key[0], str(key[2]) if key[2] > 1 else "", f"({key[1]})" if key[1] else ""]).replace("  ", " ")
        cells = []
        for name in COLUMNS:
            mean, low, high = found[key][name]
            cells.append(f"{mean:.0f}" if name == "length" else f"{mean:.2f} ({low:.2f} to {high:.2f})")
        print(f"| {method} | {found[key]['evaluations'][0]:.0f} | {' | '.join(cells)} |")
    differences(table)
    draw(found, keys, out)


def differences(table):
    """Prints the widest against the narrowest of each family, prompt by prompt."""
    print()
    families = defaultdict(list)
    for method, score, width in table:
        families[method, score].append(width)
    for (method, score), widths in families.items():
        if len(widths) > 1:
            wide, narrow = table[method, score, max(widths)], table[method, score, min(widths)]
            rows = [{name: wide[p][name] - narrow[p][name] for name in COLUMNS} for p in wide]
            shown = intervals(rows, list(COLUMNS))
            text = ", ".join(f"{COLUMNS[n]} {m:+.2f} ({a:+.2f} to {b:+.2f})" for n, (m, a, b) in shown.items())
            print(f"{method} by {score}, {max(widths)} less {min(widths)}: {text}")


def draw(found, keys, out):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = {("best-of", "likelihood"): "tab:blue", ("best-of", "implicit"): "tab:orange",
               ("beam", "likelihood"): "tab:green", ("beam", "implicit"): "tab:red"}
    figure, panels = plt.subplots(2, 2, figsize=(10, 7), constrained_layout=True)
    for panel, name in zip(panels.flat, ("implicit", "judge", "manner", "length")):
        for family, colour in colours.items():
            start = ("one sample", "", 1) if family[0] == "best-of" else ("greedy", "likelihood", 1)
            line = [start] if family != ("beam", "implicit") and start in found else []
            line += [key for key in keys if key[:2] == family]
            if not line:
                continue
            x = [found[key]["evaluations"][0] for key in line]
            mean, low, high = zip(*(found[key][name] for key in line))
            panel.plot(x, mean, color=colour, marker="o", markersize=3, label=f"{family[0]}, {family[1]}")
            panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.set(xscale="log", xlabel="evaluations a prompt", title=COLUMNS[name])
    panels[0, 0].legend(fontsize=8)
    plt.rcParams["svg.hashsalt"] = "0"
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    {"prepare": prepare, "records": records, "report": report}[sys.argv[1]](*sys.argv[2:])
