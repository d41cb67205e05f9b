"""Two hosts train as one: network namespaces with names of their own, joined by a virtual cable, on this machine.

    cargo build --release --features mpi
    sudo python tests/two_hosts.py --binary target/release/hybrid-dpo [--rate 1gbit]

Open MPI starts its daemon on the other host by a script in the place of ssh, and talks to it by TCP alone. (1) Two hosts have the bits of two
processes on one; (2) the bytes that crossed the cable are those of the arithmetic, and what TCP and Open MPI add; (3) a rank that is
killed on the other host ends the job, and `--resume` goes on to the bit. `--rate` limits the cable (`tc` with a token bucket), and the
last lines are seconds of a step. It needs root, `ip` and `unshare`.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "peers")]
from checks import Checks
from ranks import TEXT, Program, apart, digest, records, weights

HOSTS = {"ranks-a": "10.97.0.1", "ranks-b": "10.97.0.2"}
NET = "10.97.0.0/24"
# What mpirun calls in the place of ssh: a host's address, then words that a shell of that host puts together.
AGENT = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
case "$1" in
%s
*) echo "no host is called $1" >&2; exit 1;;
esac
shift
exec ip netns exec "$name" unshare --uts sh -c 'hostname "$1"; exec sh -c "$2"' sh "$name" "$*"
"""


def shell(command):
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


class Hosts(Program):
    """Programs that are started on both hosts, one process on each."""

    def __enter__(self):
        a, b = HOSTS
        for name in HOSTS:
            shell(f"ip netns add {name}")
        shell(f"ip link add {a} type veth peer name {b}")
        for name, address in HOSTS.items():
            shell(f"ip link set {name} netns {name}")
            inside = f"ip netns exec {name} ip"
            shell(f"{inside} addr add {address}/24 dev {name} && {inside} link set {name} up && {inside} link set lo up")
        agent = self.folder / "agent"
        cases = "\n".join(f"{address}) name={name};;" for name, address in HOSTS.items())
        agent.write_text(AGENT % cases)
        agent.chmod(0o755)
        return self

    def __exit__(self, *_):
        for name in HOSTS:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def limit(self, rate):
        for name in HOSTS:
            shell(f"ip netns exec {name} tc qdisc add dev {name} root tbf rate {rate} burst 1mb latency 50ms")

    def crossed(self):
        """The bytes that each host has put on the cable."""
        read = "ip netns exec {0} cat /sys/class/net/{0}/statistics/tx_bytes"
        return [int(shell(read.format(name))) for name in HOSTS]

    def start(self, ranks, arguments):
        a = next(iter(HOSTS))
        mca = {"plm_rsh_agent": self.folder / "agent", "btl": "tcp,self", "btl_tcp_if_include": NET, "oob_tcp_if_include": NET}
        launch = ["mpirun", "--bind-to", "none", "-n", str(ranks), "--host", ",".join(f"{at}:1" for at in HOSTS.values())]
        launch += [word for name, value in mca.items() for word in ("--mca", name, str(value))]
        launch = ["ip", "netns", "exec", a, "unshare", "--uts", "sh", "-c", f'hostname {a}; exec "$@"', "sh", *launch]
        return subprocess.Popen([*launch, self.binary, *arguments.split()], cwd=self.folder, env=self.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def seconds(run):
    """The median of the seconds of a step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(8 / line["pairs_per_second"] for line in lines if line["split"] == "train")


def bits(hosts, one, checks):
    """(1), (2)"""
    for kind, more in [("weights", ""), ("shared-state", "--shard-optimizer"), ("adapters", "--lora-rank 4")]:
        run, other = hosts.folder / f"hosts-{kind}", hosts.folder / f"one-{kind}"
        one.run(2, f"{TEXT} {more} --out {other.name}")
        before = hosts.crossed()
        _, err = hosts.run(2, f"{TEXT} {more} --out {run.name}")
        after = hosts.crossed()
        checks(f"{kind}: two hosts have the records of one", apart(records(run), records(other)), 0)
        checks(f"{kind}: and its bits", float(digest(run) != digest(other)), 0)
        sent = int(re.search(r"sent (\d+) bytes in its steps", err)[1])
        crossed = [then - first for first, then in zip(before, after)]
        print(f"{kind}: {sum(weights(run))} numbers, {sent} bytes sent in 6 steps by the first, {crossed} crossed the cable in all; "
              f"{seconds(run):.3f} s a step on two hosts, {seconds(other):.3f} s on one")
        # Frames and acknowledgements, the start of the daemon, and the evaluations; shares travel tensor by tensor, so in more frames.
        most = 0.25 if kind == "shared-state" else 0.1
        checks(f"{kind}: bytes beyond those sent, of them", max(max(crossed) / sent - 1, 0.0), most if sent > 5e6 else 1.0)
        checks(f"{kind}: bytes sent have crossed", float(min(crossed) < sent), 0)


def killed(hosts, one, checks):
    """(3)"""
    command = f"{TEXT.replace('--max-steps 6', '--max-steps 60')} --save-every 5"
    one.run(2, f"{command} --out whole")
    process = hosts.start(2, f"{command} --out killed")
    checkpoints = hosts.folder / "killed/checkpoints"
    for _ in range(1200):
        if checkpoints.is_dir() and any(checkpoints.glob("step-*/position.json")):
            break
        time.sleep(0.05)
    there = shell(f"ip netns pids {list(HOSTS)[1]}").split()
    programs = [pid for pid in there if Path(f"/proc/{pid}/exe").resolve() == Path(hosts.binary).resolve()]
    os.kill(int(programs[0]), signal.SIGKILL)
    begun = time.monotonic()
    _, err = process.communicate(timeout=120)
    checks("a rank killed on the other host ends the job", float(process.returncode == 0), 0)
    print(f"it ended after {time.monotonic() - begun:.1f} s, and said:\n{err[-600:]}")
    hosts.run(2, "train --resume killed")
    whole, resumed = hosts.folder / "whole", hosts.folder / "killed"
    checks("and `--resume` goes on to the bit", float(digest(whole / "model") != digest(resumed / "model")), 0)
    checks("with the same records", apart(records(whole), records(resumed)), 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rate", help="what the cable carries, as tc says it: 100mbit")
    arguments = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        one = Program(arguments.binary, Path(folder))
        with Hosts(arguments.binary, Path(folder)) as hosts:
            if arguments.rate:
                hosts.limit(arguments.rate)
            bits(hosts, one, checks)
            killed(hosts, one, checks)
    checks.end()


if __name__ == "__main__":
    main()
