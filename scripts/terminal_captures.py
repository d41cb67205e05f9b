"""Makes docs/images/terminal: what a run of each kind of problem shows in a terminal of 80 and of 100 columns, as text.

    cargo build --release
    python scripts/terminal_captures.py --binary target/release/hybrid-dpo            (writes the files)
    python scripts/terminal_captures.py --binary target/release/hybrid-dpo --check    (writes nothing; for CI, 80 columns alone)

A run is started in tmux. Bars are there for moments, so the pane is read again and again while it runs, and the last sight of each
bar stands in the file before what remains on the screen. Every sight is checked: no line is wider than the terminal,
which would break it anywhere, also within a number. tmux joins what it broke, so such a line is longer than the terminal is wide.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
RUNS = {
    "token": "train --mdp token --limit 1024 --out run",
    "diffusion": "train --mdp diffusion --limit 256 --out run",
    "hybrid": "train --mdp hybrid --limit 48 --compare=false --out run",
}
WIDTHS = (80, 100)
BAR = re.compile(r"^(train|evaluate|tokenise|read|encode|sample|reference|compare|oracle)\b.* \d+(/\d+)?( |$)")
ENDED = "== ended with"
# Nothing takes so long.
PATIENCE = 600


class Terminal:
    def __init__(self, width, folder):
        self.name = f"hybrid-dpo-{width}-{time.monotonic_ns()}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "it", "-x", str(width), "-y", "200", "-c", str(folder), "sh")
        self.tmux("set-option", "-g", "history-limit", "10000")

    def tmux(self, *arguments):
        command = ["tmux", "-L", self.name, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def type(self, text):
        self.tmux("send-keys", "-t", "it", "-l", text)
        self.tmux("send-keys", "-t", "it", "Enter")

    def lines(self, *more):
        text = self.tmux("capture-pane", "-p", "-S", "-", "-t", "it", *more)
        return [line.rstrip() for line in text.rstrip().splitlines()]

    def end(self):
        subprocess.run(["tmux", "-L", self.name, "kill-server"], check=False, capture_output=True)


def seen(binary, command, width):
    """The last sight of each bar, the lines that remain, and the lines that were too wide."""
    bars, wide = {}, set()
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "hybrid-dpo").symlink_to(pathlib.Path(binary).resolve())
        terminal = Terminal(width, folder)
        try:
            terminal.type("PS1='$ ' PATH=.:$PATH HYBRID_DPO_CACHE=; export PATH HYBRID_DPO_CACHE; clear")
            time.sleep(0.3)
            terminal.tmux("clear-history", "-t", "it")
            terminal.type(f"hybrid-dpo {command}; echo '{ENDED}' $?")
            until = time.monotonic() + PATIENCE
            while True:
                # Joined, so that a line that the terminal broke is longer than it is wide; what is typed is the shell's own.
                lines = terminal.lines("-J")
                wide |= {line for line in lines if len(line) > width and f"{ENDED}'" not in line}
                for line in lines:
                    if found := BAR.match(line):
                        bars[found[1]] = line
                if any(line.startswith(f"{ENDED} ") and line.split()[-1].isdigit() for line in lines):
                    break
                if time.monotonic() > until:
                    raise SystemExit(f"{command} has not ended:\n" + "\n".join(lines))
                time.sleep(0.05)
        finally:
            terminal.end()
    last = next(line for line in lines if line.startswith(f"{ENDED} ") and line.split()[-1].isdigit())
    if last != f"{ENDED} 0":
        raise SystemExit("\n".join(lines))
    begin = max(at for at, line in enumerate(lines) if ENDED in line and line != last)
    return bars, lines[begin + 1 : lines.index(last)], wide


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--check", action="store_true", help="writes nothing, and looks at 80 columns alone")
    parser.add_argument("--only", choices=RUNS, help="one kind of problem")
    given = parser.parse_args()
    if not shutil.which("tmux"):
        raise SystemExit("tmux is needed: apt-get install tmux")
    target, bad = HERE / "docs/images/terminal", 0
    for kind, command in RUNS.items():
        if given.only not in (None, kind):
            continue
        for width in WIDTHS[:1] if given.check else WIDTHS:
            bars, lines, wide = seen(given.binary, command, width)
            print(f"{kind}, {width} columns: {len(lines)} lines, bars of {', '.join(bars)}; {len(wide)} too wide")
            for line in sorted(wide):
                print(f"BAD {len(line)} columns: {line}")
            bad += len(wide)
            if not given.check:
                target.mkdir(parents=True, exist_ok=True)
                shown = [f"$ hybrid-dpo {command}", "", *bars.values(), "", *lines, ""]
                (target / f"{kind}-{width}.txt").write_text("\n".join(shown))
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
