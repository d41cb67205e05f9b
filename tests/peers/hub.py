"""huggingface_hub against the same server: both leave the same cache, and each reads what the other has loaded.

    pip install torch transformers peft huggingface_hub
    cargo build --release
    python tests/peers/hub.py --binary target/release/hybrid-dpo

The server is on this machine and behaves like the hub: large files lie at another address, parts of files are sent, a token is
asked for, connections are cut. The last line is the count of checks.
"""

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_this_is_a_secret"

# Folders of a repository in which each program notes what it knows.
OWN = ("trees", ".no_exist", ".hybrid-dpo")

PAIRS = [
    {"prompt": f"POST: my dog is {age}\n\nTL;DR:", "chosen": f" dog is {age}", "rejected": f" dog is {age + 1}"}
    for age in range(3, 11)
]


def git_checksum(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Site:
    """Repositories by kind and name, what was asked for, and what goes wrong next."""

    def __init__(self):
        self.repositories, self.asked, self.private, self.gated = {}, [], set(), set()
        self.cut_after = self.stall_after = None
        self.gate = threading.Event()
        self.gate.set()
        handlers = [type("Handler", (Handler,), {"site": self, "is_hub": is_hub}) for is_hub in (True, False)]
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in handlers]
        for server in self.servers:
            # Clients that leave in the middle of a reply are what is tested.
            server.handle_error = lambda *_: None
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.hub, self.elsewhere = (f"http://127.0.0.1:{server.server_address[1]}" for server in self.servers)

    def add(self, kind, name, folder):
        paths = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        self.repositories[kind, name] = {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    def end(self):
        for server in self.servers:
            server.shutdown()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        given, where = self.headers.get("Authorization"), "hub" if self.is_hub else "elsewhere"
        self.site.asked.append((where, self.path, given, self.headers.get("Range")))
        self.of_hub(given) if self.is_hub else self.of_content()

    def of_hub(self, given):
        path = self.path.split("?")[0]
        kind, rest = ("datasets", path.replace("/datasets/", "/", 1)) if "/datasets/" in path else ("models", path)
        rest = rest.replace("/api/models/", "/api/").replace("/api/", "/")
        owner, name, *more = rest.strip("/").split("/")
        verb, *more = more or ["revision", "main"]
        repository = f"{owner}/{name}"
        files = self.site.repositories.get((kind, repository))
        is_known = given == f"Bearer {TOKEN}"
        if repository in self.site.gated:
            return self.reply(401 if not is_known else 403, {"X-Error-Code": "GatedRepo"}, b"{}")
        if files is None or repository in self.site.private and not is_known:
            return self.reply(401 if not is_known else 404, {"X-Error-Code": "RepoNotFound"}, b"{}")
        if verb == "revision" and more != ["main"] and more != [COMMIT]:
            return self.reply(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        if verb == "revision":
            facts = {"id": repository, "sha": COMMIT, "private": False, "gated": False, "disabled": False, "downloads": 0,
                     "likes": 0, "tags": [], "siblings": [{"rfilename": file} for file in files]}
            return self.reply(200, {"Content-Type": "application/json"}, json.dumps(facts).encode())
        if verb == "tree":
            listed = [self.entry(file, content) for file, content in files.items()]
            return self.reply(200, {"Content-Type": "application/json"}, json.dumps(listed).encode())
        file = "/".join(more[1:])
        if verb != "resolve" or more[0] not in ("main", COMMIT) or file not in files:
            return self.reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"")
        content, headers = files[file], {"X-Repo-Commit": COMMIT}
        if file.endswith(".safetensors"):
            sum256 = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": f'"{sum256}"', "X-Linked-Size": str(len(content)), "ETag": f'"{git_checksum(content)}"',
                        "Location": f"{self.site.elsewhere}/{kind}/{repository}/{file}?signature=x"}
            return self.reply(302, headers, b"")
        return self.reply(200, headers | {"ETag": f'"{git_checksum(content)}"'}, content)

    @staticmethod
    def entry(path, content):
        entry = {"type": "file", "path": path, "size": len(content), "oid": git_checksum(content)}
        if path.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def of_content(self):
        kind, owner, name, file = self.path.split("?")[0].strip("/").split("/", 3)
        self.reply(200, {}, self.site.repositories[kind, f"{owner}/{name}"][file])

    def reply(self, status, headers, body):
        wanted, size = self.headers.get("Range"), len(body)
        if wanted and status == 200:
            start = int(re.fullmatch(r"bytes=(\d+)-.*", wanted).group(1))
            status, body = 206, body[start:]
            headers = headers | {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut, stall = self.site.cut_after, self.site.stall_after
        if not self.is_hub and cut is not None:
            self.site.cut_after = None
            self.wfile.write(body[:cut])
            self.close_connection = True
            self.connection.close()
        elif not self.is_hub and not self.site.gate.is_set():
            self.wfile.write(body[:1000])
            self.wfile.flush()
            self.site.gate.wait(60)
            self.wfile.write(body[1000:])
        elif not self.is_hub and stall is not None:
            self.wfile.write(body[:stall])
            self.wfile.flush()
            time.sleep(20)
        else:
            self.wfile.write(body)


class Program:
    """The program in a folder, with an environment of its own."""

    def __init__(self, binary, folder, site):
        self.binary, self.folder, self.site = os.path.abspath(binary), folder, site

    def environment(self, home, **more):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        return kept | {"HF_HOME": str(home), "HF_ENDPOINT": self.site.hub} | more

    def start(self, arguments, home, **more):
        return subprocess.Popen([self.binary, *arguments.split()], cwd=self.folder, env=self.environment(home, **more),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, arguments, home, code=0, **more):
        process = self.start(arguments, home, **more)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, f"{arguments}: {process.returncode}\n{err}"
        assert TOKEN not in out + err, "the token is shown"
        return out, err


def tree(cache):
    """What a cache has: paths with the content of files and the targets of links; locks and notes are each one's own."""
    found = {}
    for path in sorted(Path(cache).rglob("*")):
        place = str(path.relative_to(cache))
        if place.startswith(".locks") or any(f"/{own}" in place for own in OWN) or place == "CACHEDIR.TAG":
            continue
        if path.is_symlink():
            found[place] = os.readlink(path)
        elif path.is_file():
            found[place] = path.read_bytes()
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check(arguments.binary, Path(folder))


def check(binary, folder):
    site = Site()
    program = Program(binary, folder, site)
    # This process is huggingface_hub's; it reads its settings when it is imported.
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ.pop(name, None)
    os.environ |= {"HF_ENDPOINT": site.hub, "HF_HOME": str(folder / "theirs"), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                   "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    import huggingface_hub
    from checks import Checks

    checks = Checks()
    says = lambda name, holds: checks(name, 0.0 if holds else 1.0, 0.0)  # noqa: E731
    ours, theirs = folder / "ours", folder / "theirs"

    program.run("export --model builtin:tldr --out base", folder / "none")
    (folder / "base/pytorch_model.bin").write_bytes(b"a pickle that nobody needs")
    (folder / "data").mkdir()
    (folder / "data/train.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    for kind, name, place in [("models", "org/base", "base"), ("models", "org/secret", "base"), ("models", "org/gated", "base"),
                              ("datasets", "org/pairs", "data")]:
        site.add(kind, name, folder / place)
    site.private, site.gated = {"org/secret"}, {"org/gated"}
    expected = program.run("score --model base --data data/train.jsonl", folder / "none")[0]

    both_ways(checks, says, program, site, huggingface_hub, (ours, theirs), expected)
    in_part(says, program, site, huggingface_hub, folder, expected)
    interrupted(says, program, site, huggingface_hub, folder, expected)
    at_once(says, program, site, folder, expected)
    refusals(says, program, site, folder)
    adapters(says, program, site, folder, ours)
    full_disk(says, program, site, folder, expected)
    site.end()
    checks.end()


def both_ways(checks, says, program, site, huggingface_hub, caches, expected):
    ours, theirs = caches
    score = "score --model org/base --data org/pairs"
    out, err = program.run(score, ours)
    says("what is scored by names is what is scored by paths", out == expected)
    says("the download is announced", "org/base: downloading" in err and site.hub in err)
    says("no pickle is asked for", not any("pytorch_model" in path for _, path, _, _ in site.asked))
    from_ours = {"cache_dir": str(ours / "hub"), "local_files_only": True}
    for kind, name in (("model", "org/base"), ("dataset", "org/pairs")):
        found = huggingface_hub.snapshot_download(name, repo_type=kind, **from_ours)
        says(f"snapshot_download finds our {kind}", found.endswith(COMMIT))
    info = huggingface_hub.scan_cache_dir(ours / "hub")
    says("scan_cache_dir warns of nothing in our cache", not info.warnings and len(info.repos) == 2)
    import transformers
    model = transformers.AutoModelForCausalLM.from_pretrained("org/base", **from_ours)
    says("transformers loads our copy by its name", model.config.name_or_path == "org/base")

    ignored = ["*.bin"]
    huggingface_hub.snapshot_download("org/base", ignore_patterns=ignored)
    huggingface_hub.snapshot_download("org/pairs", repo_type="dataset")
    one, other = tree(ours / "hub"), tree(theirs / "hub")
    says("both caches have the same files, links and revisions", one == other)
    if one != other:
        print({place for place in one.keys() ^ other.keys()}, {place for place in one.keys() & other.keys() if one[place] != other[place]})
    asked = len(site.asked)
    says("their copy is read offline", program.run(score, theirs, HF_HUB_OFFLINE="1")[0] == expected)
    says("their copy is read with a network, and nothing is asked for", program.run(score, theirs)[0] == expected)
    says("a commit is a revision", program.run(score.replace("base", f"base@{COMMIT}"), theirs)[0] == expected)
    says("no request was sent", len(site.asked) == asked)


def in_part(says, program, site, huggingface_hub, folder, expected):
    """Copies that other programs have made of what they needed."""
    import transformers

    home, score = folder / "loaded", "score --model org/base --data data/train.jsonl"
    place = {"cache_dir": str(home / "hub")}
    transformers.AutoModelForCausalLM.from_pretrained("org/base", **place)
    transformers.AutoTokenizer.from_pretrained("org/base", **place)
    says("what transformers has loaded is read offline", program.run(score, home, HF_HUB_OFFLINE="1")[0] == expected)
    says("and with a network", program.run(score, home)[0] == expected)

    parts = folder / "parts"
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        (parts / "data").mkdir(parents=True, exist_ok=True)
        rows = PAIRS[:4] if name.startswith("train-00000") else PAIRS[4:]
        (parts / f"data/{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in rows))
    site.add("datasets", "org/parts", parts)
    first = huggingface_hub.hf_hub_download("org/parts", "data/train-00000-of-00002.jsonl", repo_type="dataset", **place)
    score = "score --model base --split train --data"
    of_file, of_all = (program.run(f"{score} {what}", home)[0] for what in (first, "parts"))
    says("offline, a part of a data set is read", program.run(f"{score} org/parts", home, HF_HUB_OFFLINE="1")[0] == of_file)
    says("with a network it is completed, and read by split", program.run(f"{score} org/parts", home)[0] == of_all == expected)
    asked = len(site.asked)
    says("once", program.run(f"{score} org/parts", home)[0] == of_all and len(site.asked) == asked)


def at_once(says, program, site, folder, expected):
    home, score = folder / "both", "score --model org/base --data data/train.jsonl"
    site.asked.clear()
    site.gate.clear()
    one = program.start(score, home)
    for _ in range(400):
        if any(where == "elsewhere" for where, *_ in site.asked):
            break
        time.sleep(0.05)
    other = program.start(score, home)
    waits = False
    for line in iter(other.stderr.readline, ""):
        waits = "another program is downloading model.safetensors; waiting for it" in line
        if waits:
            break
    site.gate.set()
    outs = [process.communicate(timeout=60)[0] for process in (one, other)]
    says("two programs load a file once", waits and sum(where == "elsewhere" for where, *_ in site.asked) == 1)
    says("and both read it", outs == [expected, expected])


def interrupted(says, program, site, huggingface_hub, folder, expected):
    home, score = folder / "cut", "score --model org/base --data data/train.jsonl"
    size = len(site.repositories["models", "org/base"]["model.safetensors"])
    site.asked.clear()
    site.cut_after = size // 3
    says("a cut connection is gone on with", program.run(score, home)[0] == expected)
    says("from the byte where it ended", (f"bytes={size // 3}-") in [range for _, _, _, range in site.asked])

    home = folder / "killed"
    site.stall_after = size // 2
    process = program.start(score, home)
    blobs = home / "hub/models--org--base/blobs"
    for _ in range(400):
        parts = list(blobs.glob("*.incomplete")) if blobs.is_dir() else []
        if parts and parts[0].stat().st_size >= size // 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    site.stall_after = None
    says("a killed download leaves no snapshot", not (home / "hub/models--org--base/snapshots").exists())
    part = next(blobs.glob("*.incomplete")).stat().st_size
    site.asked.clear()
    says("the next start ends it", program.run(score, home)[0] == expected)
    says("from where it was killed", f"bytes={part}-" in [range for _, _, _, range in site.asked])
    found = huggingface_hub.snapshot_download("org/base", cache_dir=str(home / "hub"), local_files_only=True)
    says("and huggingface_hub reads the result", Path(found, "model.safetensors").stat().st_size == size)


def refusals(says, program, site, folder):
    home = folder / "refused"
    score = "score --data data/train.jsonl --model"
    site.asked.clear()
    err = program.run(f"{score} org/secret", home, code=1)[1]
    says("a private model needs a token", "has no model of that name, or shows it to nobody without the right token" in err)
    program.run(f"{score} org/secret", home, HF_TOKEN=TOKEN)
    (home / "token").write_text(TOKEN + "\n")
    program.run(f"{score} org/secret", folder / "refused", HF_HUB_CACHE=str(folder / "another"))
    given = {where for where, _, given, _ in site.asked if given}
    says("the token goes to the hub alone", given == {"hub"})
    err = program.run(f"{score} org/gated", folder / "nobody", code=1)[1]
    says("a gated model says what to do", f"gated: accept its conditions at {site.hub}/org/gated" in err)
    err = program.run(f"{score} org/base@v7", home, code=1)[1]
    says("a missing revision is named", "has no revision v7" in err)
    err = program.run(f"{score} org/secrets", home, code=1)[1]
    says("near names of the cache are named", "in the cache are org/secret" in err)
    err = program.run(f"{score} org/base", home, code=1, HF_HUB_OFFLINE="1")[1]
    says("offline, the cache is listed", "HF_HUB_OFFLINE is set; the cache has org/secret" in err)
    for err in (program.run(f"{score} org/base", home, code=1, HF_ENDPOINT="http://127.0.0.1:9")[1],):
        says("a hub that is not there is said in one line", err.startswith("error: ") and err.count("\n") == 1)


def adapters(says, program, site, folder, ours):
    train = "train --model org/base --data org/pairs --lora-rank 4 --max-steps 2 --batch-size 4 --n-samples 0 --out run"
    program.run(train, ours)
    card, config = (folder / "run/model/README.md").read_text(), (folder / "run/config.toml").read_text()
    says("the card names base, data and commit", "base_model: \"org/base\"" in card and f"`org/base@{COMMIT}`" in card
         and "- \"org/pairs\"" in card and f"`org/pairs@{COMMIT}`" in card)
    says("the run's settings name the commit", f"models--org--base/snapshots/{COMMIT}" in config)
    settings = json.loads((folder / "run/model/adapter_config.json").read_text())
    says("the adapter names its base for others",
         (settings["base_model_name_or_path"], settings["revision"]) == ("org/base", COMMIT))
    score = "score --data data/train.jsonl --model"
    expected = program.run(f"{score} run", ours, HF_HUB_OFFLINE="1")[0]
    says("the run is read by its folder", expected.count("\n") == len(PAIRS))
    ours.rename(folder / "away")
    program.run("train --resume run --max-steps 3", folder / "moved")
    (folder / "away").rename(ours)
    says("another machine goes on with it from the hub", (folder / "moved/hub/models--org--base/snapshots" / COMMIT).is_dir())
    expected = program.run(f"{score} run", ours, HF_HUB_OFFLINE="1")[0]
    site.add("models", "org/adapter", folder / "run/model")
    says("an adapter by its name brings its base", program.run(f"{score} org/adapter", folder / "fresh")[0] == expected)
    says("so do both by their names", program.run(f"{score} org/base+org/adapter", folder / "fresh")[0] == expected)
    import peft
    theirs = peft.AutoPeftModelForCausalLM.from_pretrained("org/adapter", cache_dir=str(folder / "peft"))
    says("peft loads it by its name with its base", theirs.peft_config["default"].revision == COMMIT)
    program.run("merge --model org/base+org/adapter --out merged", folder / "fresh", HF_HUB_OFFLINE="1")
    card = (folder / "merged/README.md").read_text()
    says("the card of what is merged names its base", 'base_model: "org/base"' in card and f"`org/base@{COMMIT}" in card)


def full_disk(says, program, site, folder, expected):
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        print("no disk can be mounted here, so none was filled")
        return
    try:
        score = "score --model org/base --data data/train.jsonl"
        err = program.run(score, disk, code=1)[1]
        says("a full disk is said, and what has arrived is kept", "the disk is full; what has arrived is kept" in err)
        subprocess.run(["mount", "-o", "remount,size=256m", str(disk)], check=True)
        site.asked.clear()
        says("with more room it goes on", program.run(score, disk)[0] == expected)
        says("from where the disk was full", any(range for _, _, _, range in site.asked))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


if __name__ == "__main__":
    main()
