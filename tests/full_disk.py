"""Disks that fill up at every write of every job: nothing that was saved is lost, and the same command goes on later.

    cargo build --release
    python tests/full_disk.py --binary target/release/hybrid-dpo            # all, about an hour
    python tests/full_disk.py --binary target/release/hybrid-dpo --quick    # some, less than a minute

The disk is a tmpfs that leaves a job so many free pages. The number of pages is swept from none to what the job needs, and
between two that fail at different files by halves, so that every file of the job is once the one that does not fit. Each time:
the job ends with exit code 1 and one error that names a file and the full disk; no file under its final name is partial; no
temporary file stays; what was there before is there still; and with more room the next command (`--resume`, or the same one)
leaves what an undisturbed job leaves, bit by bit. The last line is the count of checks. Needs Linux and the right to mount.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import kill

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "peers"))
import hub  # noqa: E402

PAGE = 4096
PLENTY = 512 << 20
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
# What a job writes that the clock or the machine decides.
UNLIKE = re.compile(r"report\.html$|summary\.json$|tensorboard/|\.lock$|config\.toml$|README\.md$")
TRAIN = (
    "--batch-size 4 --eval-every 2 --eval-examples 4 --n-samples 2 --warmup-steps 0 --lr 1e-3 --log-format json"
)
TOKEN = f"--model builtin:tldr-untrained --data small.jsonl --eval-data held.jsonl --max-steps 4 --max-length 96 --save-every 2 {TRAIN}"


class Disk:
    """A tmpfs whose free space is set."""

    def __init__(self, folder):
        self.folder = folder

    def mount(self):
        command = ["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "hybrid-dpo-full", str(self.folder)]
        return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0

    def used(self):
        found = os.statvfs(self.folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def leave(self, free):
        size = PLENTY if free is None else self.used() + free
        # A size of 0 is none at all.
        subprocess.run(["mount", "-o", f"remount,size={max(size, PAGE)}", str(self.folder)], check=True)

    def end(self):
        subprocess.run(["umount", str(self.folder)], check=True)


class Job:
    """A command, what it leaves, and what else is to be looked at."""

    def __init__(self, name, command, *outputs, quick=(), before=None, environment=None, keeps=None):
        self.name, self.command, self.outputs, self.quick = name, command, outputs, quick
        # Called with the scene before each run; the shares of the disk that the short version tries.
        self.before, self.environment = before, environment or {}
        # Called with the scene after a failure: what went wrong with what was saved on the way.
        self.keeps = keeps or (lambda scene: [])

    def next(self, scene):
        """What a person does next."""
        run = self.outputs[0]
        is_run = self.command.startswith("train") and (scene.folder / run / "config.toml").is_file()
        return f"train --resume {run} --quiet" if is_run else self.command


class Scene:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.disk = str(pathlib.Path(binary).resolve()), folder, Disk(folder)

    def run(self, arguments, environment=None):
        # What is temporary is on the same disk.
        (self.folder / "tmp").mkdir(exist_ok=True)
        own = {"HYBRID_DPO_CACHE": str(self.folder / "cache"), "TMPDIR": str(self.folder / "tmp"), "RAYON_NUM_THREADS": "2"}
        settings = os.environ | own | (environment or {})
        return subprocess.run([self.binary, *arguments.split()], cwd=self.folder, env=settings, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=300)

    def prepare(self, *commands):
        for command in commands:
            done = self.run(command)
            assert done.returncode == 0, f"{command}: {done.stderr}"

    def clear(self, job):
        for name in (*job.outputs, "cache"):
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for left in self.hidden():
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def hidden(self):
        """Temporary files; what has arrived of a download is kept on purpose."""
        kept = (".locks", ".no_exist", ".hybrid-dpo")
        hidden = [path for path in self.folder.rglob("*") if path.name.startswith(".") and path.name not in kept]
        return hidden + [path for path in (self.folder / "tmp").glob("*") if path not in hidden]

    def result(self, job):
        """What a job leaves, without what the clock decides."""
        found = {}
        for name in job.outputs:
            path = self.folder / name
            files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
            for file in files:
                place = str(file.relative_to(self.folder))
                if UNLIKE.search(place):
                    continue
                found[place] = file.read_bytes()
                if file.name in ("metrics.jsonl", "evaluations.jsonl"):
                    lines = [json.loads(line) for line in file.read_text().splitlines()]
                    found[place] = [{key: value for key, value in line.items() if not key.endswith("_per_second")} for line in lines]
        return found


def site_of(job, error):
    """The file that an error names, without what differs from run to run."""
    named = [word for word in re.findall(r"([^\s:]+): ", error) if "/" in word or "." in word or word in job.outputs]
    if not named:
        return None
    name = re.sub(r"\.building-\w+|\.tmp\w+|\.[\w-]+\.partial-?\w*", "TMP", named[0])
    return "/".join(re.sub(r"\d+", "N", name).split("/")[-2:])


def attempt(check, scene, job, free, whole):
    """Runs a job with so much room, and then what follows; gives the file that did not fit, or None."""
    scene.clear(job)
    if job.before:
        job.before(scene)
    earlier = {name: (scene.folder / name).read_bytes() for name in job.outputs if (scene.folder / name).is_file()}
    scene.disk.leave(free)
    name = f"{job.name}, {free // PAGE} pages"
    done = scene.run(job.command, job.environment)
    if done.returncode == 0:
        scene.disk.leave(None)
        check(f"{name}: the result of one that had room", scene.result(job) == whole, difference(scene.result(job), whole))
        return None
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    check(f"{name}: one error", done.returncode == 1 and len(error) == 1 and "panicked" not in done.stderr, done.stderr[-500:])
    said = error[0] if error else ""
    is_told = "No space left on device" in said or "disk is full" in said
    check(f"{name}: the full disk and a file are named", is_told and site_of(job, said), said)
    check(f"{name}: no file is partial", not (found := broken(scene, job)), found)
    left = scene.hidden()
    check(f"{name}: nothing temporary is left", not left, left)
    changed = [file for file, data in earlier.items() if not keeps(scene.folder / file, data)]
    check(f"{name}: what was there is there still", not changed, changed)
    check(f"{name}: what was saved on the way is kept", not (lost := job.keeps(scene)), lost)
    scene.disk.leave(None)
    after = scene.run(job.next(scene), job.environment)
    check(f"{name}: the next command", after.returncode == 0, after.stderr[-500:])
    check(f"{name}: and its result", scene.result(job) == whole, difference(scene.result(job), whole))
    check(f"{name}: nothing temporary is left then", not (left := scene.hidden()), left)
    return site_of(job, said) or said


def keeps(path, data):
    return path.is_file() and path.read_bytes().startswith(data)


def difference(found, whole):
    return sorted(name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name))[:5]


def broken(scene, job):
    return [problem for name in job.outputs if (scene.folder / name).is_dir() for problem in kill.broken(scene.folder / name)]


def needed(scene, job):
    """The pages that a job needs, and what it leaves."""
    scene.clear(job)
    if job.before:
        job.before(scene)
    before, most, is_over = scene.disk.used(), [0], threading.Event()

    def watch():
        while not is_over.wait(0.001):
            most[0] = max(most[0], scene.disk.used() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    done = scene.run(job.command, job.environment)
    is_over.set()
    watcher.join()
    assert done.returncode == 0, f"{job.name}: {done.stderr}"
    return max(most[0], scene.disk.used() - before) // PAGE + 1, scene.result(job)


def sweep(check, scene, job, grid, depth):
    """Tries a grid of sizes, and halves between two that fail at different files."""
    begin, (pages, whole) = time.monotonic(), needed(scene, job)
    sites = {}

    def look(n):
        if n not in sites:
            sites[n] = attempt(check, scene, job, n * PAGE, whole)
        return sites[n]

    def between(low, high, left):
        if left and high - low > 1 and look(low) != look(high):
            middle = (low + high) // 2
            look(middle)
            between(low, middle, left - 1)
            between(middle, high, left - 1)

    points = sorted({int(pages * share) for share in job.quick} if grid is None else {pages * n // grid for n in range(grid + 1)})
    for low, high in zip(points, points[1:]):
        between(low, high, depth)
    for n in points:
        look(n)
    found = sorted({site for site in sites.values() if site})
    check(f"{job.name}: it fails where there is no room", found, "every run succeeded")
    print(f"{job.name}: {len(sites)} sizes of up to {pages} pages, full at {len(found)} files, {time.monotonic() - begin:.0f} s", flush=True)
    if grid is not None:
        print("    " + ", ".join(found), flush=True)


class Judge:
    """A server that prefers the first answer, and counts what it is asked."""

    def __init__(self):
        self.asked, judge = 0, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                judge.asked += 1
                text = json.dumps({"choices": [{"message": {"content": "Preferred: A"}}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


def fill(scene):
    """The inputs of all jobs."""
    for name, (n, words, seed) in {"small": (16, 6, 1), "held": (8, 6, 2)}.items():
        (scene.folder / f"{name}.jsonl").write_text("\n".join(kill.pairs(n, words, seed)) + "\n")
    shutil.copy(GOLDEN / "formats/qwen2.gguf", scene.folder)
    quiet = "--batch-size 2 --max-steps 1 --n-samples 0 --eval-examples 0 --eval-share 0 --quiet"
    scene.prepare(
        f"train --model builtin:tldr --data small.jsonl --out trained {quiet}",
        f"train --model builtin:tldr --data small.jsonl --out adapted --lora-rank 2 {quiet}",
        "sample --prompts builtin:tldr --limit-prompts 12 --max-length 96 --pairs texts",
    )


def restore_texts(scene):
    """Pairs that nobody has judged, beside the judgements that a person has made of two."""
    shutil.rmtree(scene.folder / "judged", ignore_errors=True)
    shutil.copytree(scene.folder / "texts", scene.folder / "judged")
    id = json.loads((scene.folder / "judged/pairs.json").read_text())["id"]
    line = lambda index: json.dumps({"version": 1, "pairs": id, "index": index, "choice": "a", "labeller": "anna", "by": "person"})
    (scene.folder / "judged/labels.jsonl").write_text(line(0) + "\n" + line(1) + "\n")


def answers_kept(judge):
    """What a server has answered is in its file, but for the one answer that came when there was no more room."""

    def check(scene):
        path = scene.folder / "judged/judge-answers.jsonl"
        kept = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        labels = [json.loads(line)["labeller"] for line in (scene.folder / "judged/labels.jsonl").read_text().splitlines()]
        if len(kept) < judge.asked - 1:
            return [f"{judge.asked} answers were given, and {len(kept)} are kept"]
        return [] if labels[:2] == ["anna", "anna"] and all("key" in line for line in kept) else [labels]

    return check


def asked_anew(judge):
    def before(scene):
        restore_texts(scene)
        judge.asked = 0

    return before


def old_file(name):
    def before(scene):
        (scene.folder / name).write_text("what was there before\n")

    return before


def jobs(judge, site):
    shares = (0, 0.3, 0.7)
    hybrid = "train --mdp hybrid --limit 4 --max-steps 2 --batch-size 2 --max-length 96 --sample-steps 1 --save-every 1 " \
        "--eval-share 0 --eval-examples 0 --n-samples 0 --out run"
    rounds = "train --mdp token --rounds 2 --round-pairs 4 --prompts builtin:tldr --max-length 96 --batch-size 2 " \
        "--n-samples 1 --eval-examples 2 --warmup-steps 0 --save-every 1 --out run"
    diffusion = "train --mdp diffusion --limit 8 --max-steps 2 --batch-size 4 --sample-steps 1 --save-every 1 --eval-every 1 " \
        "--eval-examples 2 --n-samples 1 --warmup-steps 0 --out run"
    where = {"HF_HOME": "hf", "HF_ENDPOINT": site.hub}
    asks = f"judge --pairs judged --judge openai --endpoint {judge.address} --judge-model m --judge-retries 0 --judge-parallel 1"
    return [
        Job("train token", f"train {TOKEN} --out run", "run", quick=(0, 0.05, 0.4, 0.8)),
        Job("train with a reference cache", f"train {TOKEN} --reference-cache numbers --out run", "run", "numbers"),
        Job("train diffusion", diffusion, "run"),
        Job("train hybrid", hybrid, "run"),
        Job("train in rounds", rounds, "run"),
        Job("precompute", "precompute --model builtin:tldr-untrained --data small.jsonl --max-length 96 --reference-cache numbers", "numbers", quick=shares),
        Job("sample", "sample --model trained --prompts builtin:tldr --limit-prompts 8 --max-length 96 --out s.jsonl", "s.jsonl",
            quick=(0, 0.6), before=old_file("s.jsonl")),
        Job("sample pairs of texts", "sample --prompts builtin:tldr --limit-prompts 8 --max-length 96 --pairs p", "p"),
        Job("sample pairs of pictures", "sample --mdp hybrid --prompts builtin:chimera --limit-prompts 3 --sample-steps 2 --pairs p", "p", quick=shares),
        Job("sample trajectories", "sample --mdp diffusion --model builtin:shapes --prompts builtin:shapes --limit-prompts 2 --n 2 "
            "--sample-steps 2 --eta 1 --out s.jsonl --save-trajectories t.safetensors", "s.jsonl", "t.safetensors", "s", quick=(0, 0.5)),
        Job("score", "score --model trained --data small.jsonl --out s.jsonl", "s.jsonl", before=old_file("s.jsonl")),
        Job("export", "export --model trained --out e", "e", quick=shares),
        Job("export of GGUF", "convert --model qwen2.gguf --out e", "e"),
        Job("merge", "merge --model adapted --out e", "e"),
        Job("judge by an oracle", "judge --pairs judged --judge oracle --out j.json", "judged", "j.json", before=restore_texts, quick=(0, 0.5)),
        Job("judge by a server", asks, "judged", before=asked_anew(judge), keeps=answers_kept(judge)),
        Job("report", "report trained --out r.html --svg plots", "r.html", "plots", quick=(0, 0.4)),
        Job("download", "export --model org/base --out e", "hf", "e", environment=where),
    ]


def ask(port, labeller, index, choice):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"labeller": labeller, "index": index, "choice": choice})
    connection.request("POST", "/api/answers", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def check_label(check, scene, pages):
    """A labelling page whose disk fills: what was confirmed is kept, what was not is said, and with room it goes on."""
    shutil.copytree(scene.folder / "texts", scene.folder / "labelled")
    process = subprocess.Popen([scene.binary, "label", "--pairs", "labelled", "--port", "0"], cwd=scene.folder,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line = next(line for line in process.stdout if "http://" in line)
    port = int(line.split("http://")[1].split("/")[0].rsplit(":", 1)[1].split()[0])
    log, confirmed = scene.folder / "labelled/labels.jsonl", 0
    scene.disk.leave(pages * PAGE)
    # Names fill pages soon. Sooner or later no line fits.
    refused = None
    for n in range(2000):
        status, text = ask(port, f"{n:04}{'x' * 60}", n % 12, "tie")
        if status != 200:
            refused = (status, text)
            break
        confirmed += 1
    check(f"label, {pages} pages: a full disk is said", refused and refused[0] == 507 and "the disk is full" in refused[1], refused)
    lines = lambda: [json.loads(line)["labeller"][:4] for line in log.read_text().splitlines()]
    check(f"label, {pages} pages: what was confirmed is kept, and no more", lines() == [f"{n:04}" for n in range(confirmed)], lines()[-3:])
    scene.disk.leave(None)
    status, _ = ask(port, "anna", 0, "skip")
    check(f"label, {pages} pages: with room it goes on", status == 200 and lines()[-1] == "anna", status)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    check(f"label, {pages} pages: the folder is whole", scene.run("inspect labelled").returncode == 0)
    shutil.rmtree(scene.folder / "labelled")
    return confirmed


def check_read_only(check, scene):
    """A folder that nobody may write to: one error, and nothing else happens. The right to do all is given up for it."""
    folder = scene.folder / "locked"
    folder.mkdir()
    for command, arguments in {"train": f"train {TOKEN} --out locked/run", "sample": "sample --prompts builtin:tldr --limit-prompts 2 --out locked/s.jsonl",
                               "export": "export --model trained --out locked/e"}.items():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "hybrid-dpo-locked", str(folder)], check=True)
        done = scene.run(arguments)
        subprocess.run(["umount", str(folder)], check=True)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        is_told = len(errors) == 1 and "Read-only file system" in errors[0] and "locked" in errors[0]
        check(f"{command} into a read-only folder", done.returncode == 1 and is_told, done.stderr[-300:])


def main():
    # A job in the background of a script ignores interrupts, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--quick", action="store_true", help="some jobs, at some sizes")
    parser.add_argument("--jobs", nargs="*", help="only these")
    parser.add_argument("--grid", type=int, default=16, help="sizes to begin with")
    parser.add_argument("--depth", type=int, default=6, help="how often two sizes are halved")
    given = parser.parse_args()
    check, began = kill.Checks(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as elsewhere:
        scene = Scene(given.binary, pathlib.Path(folder))
        if not scene.disk.mount():
            print("no disk can be mounted here, so none was filled")
            return
        try:
            fill(scene)
            judge, site = Judge(), hub.Site()
            base = pathlib.Path(elsewhere) / "base"
            scene.prepare(f"export --model builtin:tldr --out {base}")
            site.add("models", "org/base", base)
            for job in jobs(judge, site):
                if job.name in given.jobs if given.jobs else job.quick or not given.quick:
                    sweep(check, scene, job, None if given.quick else given.grid, 0 if given.quick else given.depth)
                    scene.clear(job)
            for pages in () if given.jobs else (1, 2) if given.quick else (1, 2, 3, 7):
                print(f"label: {check_label(check, scene, pages)} answers on {pages} pages", flush=True)
            if not given.jobs:
                check_read_only(check, scene)
        finally:
            scene.disk.leave(None)
            scene.disk.end()
    print(f"{time.monotonic() - began:.0f} s")
    check.end()


if __name__ == "__main__":
    main()
