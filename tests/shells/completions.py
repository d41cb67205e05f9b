"""Completions in bash, zsh and fish, typed into real shells.

    python tests/shells/completions.py --binary target/release/hybrid-dpo

Each shell runs in a pseudo terminal without anybody's start files, gets the script that `completions SHELL` writes, and is
typed a line that ends in a tab; then an `echo` before the line shows what the shell made of it. fish answers by its own
`complete --do-complete`.
"""
import argparse
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# What is typed, and what it must become; the shells differ in the blank after a single candidate.
LINES = [
    ("hybrid-dpo tra", "hybrid-dpo train"),
    ("hybrid-dpo train --activ", "hybrid-dpo train --activation-checkpointing"),
    ("hybrid-dpo train --objective apo-z", "hybrid-dpo train --objective apo-zero"),
    ("hybrid-dpo search --early-stopping nev", "hybrid-dpo search --early-stopping never"),
    ("hybrid-dpo reproduce the", "hybrid-dpo reproduce theory"),
    ("hybrid-dpo completions elv", "hybrid-dpo completions elvish"),
    ("hybrid-dpo train --data only-o", "hybrid-dpo train --data only-one.jsonl"),
    ("hybrid-dpo train --mdp hyb", "hybrid-dpo train --mdp hybrid"),
    ("hybrid-dpo train --mdp=hyb", "hybrid-dpo train --mdp=hybrid"),
    ("hybrid-dpo train --model builtin:tl", "hybrid-dpo train --model builtin:tldr"),
]


class Shell:
    """A shell in a pseudo terminal."""

    def __init__(self, arguments, environment, folder):
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(arguments[0], arguments, environment)
        self.n = 0

    def wait_for(self, mark):
        """Reads until the terminal shows `mark`."""
        text, end = "", time.monotonic() + 60
        while mark not in text:
            ready, _, _ = select.select([self.file], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise SystemExit(f"no {mark!r} within a minute: {text!r}")
            text += os.read(self.file, 65536).decode(errors="replace")
        return text

    def run(self, line):
        """Runs a line and waits until it is done."""
        self.n += 1
        # The mark is not in what is typed, which the terminal echoes.
        os.write(self.file, f"{line}; echo DO''NE{self.n}\n".encode())
        return self.wait_for(f"DONE{self.n}\r")

    def close(self):
        os.close(self.file)
        os.waitpid(self.pid, 0)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", required=True, type=Path)
    binary = arguments.parse_args().binary.resolve()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "bin").mkdir()
        (folder / "bin" / "hybrid-dpo").symlink_to(binary)
        (folder / "only-one.jsonl").write_text("")
        environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder), "TERM": "dumb", "PS1": "$ ",
            "XDG_CONFIG_HOME": str(folder), "LC_ALL": "C.UTF-8",
        }
        for name in ("bash", "zsh", "fish"):
            script = subprocess.run([binary, "completions", name], check=True, capture_output=True, text=True).stdout
            (folder / f"script.{name}").write_text(script)
            for line, wanted in LINES:
                made = COMPLETE[name](line, environment, folder)
                ok = made.rstrip() == wanted
                failed += not ok
                print(f"{'ok  ' if ok else 'FAIL'} {name}: {line!r} -> {made!r}", flush=True)
    print(f"{failed} failed")
    sys.exit(failed > 0)


def typed(arguments, start):
    """Completes by typing."""

    def complete(line, environment, folder):
        shell = Shell(arguments, environment, folder)
        try:
            for command in start:
                shell.run(command.format(folder=folder))
            shell.n += 1
            os.write(shell.file, line.encode())
            time.sleep(0.3)
            os.write(shell.file, b"\t")
            time.sleep(1.5)
            # To the line's begin, where an echo makes it an argument; the mark is split, so that the echo of typing has none.
            os.write(shell.file, f"\x01echo '<' \x05 '>' DO''NE{shell.n}\n".encode())
            text = shell.wait_for(f"DONE{shell.n}\r")
            found = re.findall(r"^< (.*?) >", text.replace("\r", ""), flags=re.M)
            return found[-1] if found else text
        finally:
            shell.close()

    return complete


def fish(line, environment, folder):
    """Completes by fish's own question to its completions."""
    command = f"source {folder}/script.fish; complete --do-complete '{line}'"
    answer = subprocess.run(["fish", "--no-config", "-c", command], env=environment, cwd=folder, capture_output=True, text=True)
    candidates = [one.split("\t")[0] for one in answer.stdout.splitlines()]
    last = line.split(" ")[-1]
    if len(candidates) != 1:
        return f"{candidates} {answer.stderr}"
    return line[: len(line) - len(last)] + candidates[0]


COMPLETE = {
    "bash": typed(["bash", "--norc", "--noprofile", "-i"], ["source {folder}/script.bash"]),
    "zsh": typed(
        ["zsh", "-f", "-i"], ["autoload -U compinit", "compinit -u -D", "bindkey -e", "source {folder}/script.zsh"]
    ),
    "fish": fish,
}

if __name__ == "__main__":
    main()
