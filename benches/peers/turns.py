"""Systems that take turns, each run in a process of its own, so that its peak memory is its own."""

import json
import resource
import statistics
import subprocess
import sys


def peak_mb(who):
    return resource.getrusage(who).ru_maxrss / 1024


def result_of(command):
    """The JSON object that a command prints last; printed again, for whoever watches."""
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result = json.loads(output.strip().splitlines()[-1])
    print(json.dumps(result), flush=True)
    return result


def medians(commands, rounds):
    """The medians of the numbers that commands print, by system, and under "runs" what each run printed.

    Every system runs once in each round.
    """
    results = {system: [] for system in commands}
    for _ in range(rounds):
        for system, command in commands.items():
            results[system].append(result_of(command))
    numbers = lambda result: {key: value for key, value in result.items() if isinstance(value, (int, float))}
    return {
        system: {key: statistics.median(one[key] for one in ones) for key in numbers(ones[0])} | {"runs": ones}
        for system, ones in results.items()
    }


def itself(script, system, arguments):
    """The command that runs one system of a script."""
    return [sys.executable, script, "--only", system, *map(str, arguments)]


def print_ratios(what, results, key, is_time=False):
    """hybrid-dpo, in each of its precisions, against each other system: the ratio of speeds (of times, turned over), and that of
    memory if measured.

    Where hybrid-dpo is not among the systems asked for, nothing is compared.
    """
    for name in filter(is_ours, results):
        ours = results[name]
        for system, theirs in results.items():
            if is_ours(system):
                continue
            speed = theirs[key] / ours[key] if is_time else ours[key] / theirs[key]
            memory = f" at {ours['peak_mb'] / theirs['peak_mb']:.2f}x the memory" if "peak_mb" in ours else ""
            print(f"{what}, {name} against {system}: {speed:.2f}x the speed{memory}")


def is_ours(system):
    return system.startswith("hybrid-dpo")
