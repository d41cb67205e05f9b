"""The label server under load: answers that arrive at a fixed rate, whatever the server does, and none of them lost.

    cargo build --release
    python tests/load/label.py --binary target/release/hybrid-dpo --rate 1000 --seconds 30
    python tests/load/label.py --binary target/release/hybrid-dpo --rate 300 --seconds 600 --mixed
    python tests/load/label.py --binary target/release/hybrid-dpo --rate 1000 --seconds 10 --kill

Each answer has a time at which it is due, and its latency counts from then (an open loop): a server that stops for a second
has a second in every latency behind it. `--mixed` opens pages and takes answers back in between. `--kill` ends the server
with kill -9 in the middle and starts it again. At the end `labels.jsonl` has, of every pair and labeller, exactly the changes
that were confirmed, each once and in their order; an answer that was confirmed before another was sent stands before it.
Times are printed and not judged. The last line is the count of checks. Needs Linux.
"""

import argparse
import asyncio
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

CHOICES = ("left", "right", "tie", "skip")
# What a browser asks for when a page is opened.
PAGE = ("/", "/label.js", "/label.css", "/api/session", "/api/progress?labeller={}")


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, name, good, why=""):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        if not good:
            print(f"BAD {name}: {why}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        raise SystemExit(self.failed > 0)


def make_pairs(folder, n):
    folder.mkdir()
    header = {"format": "hybrid-dpo pairs", "version": 1, "id": "load", "modality": "token", "pairs": n, "settings": {}}
    (folder / "pairs.json").write_text(json.dumps(header))
    side = lambda name, index: {"response": f"{name} {index}", "seed": index}
    with (folder / "pairs.jsonl").open("w") as file:
        for index in range(n):
            pair = {"index": index, "request": f"number {index}", "a": side("a", index), "b": side("b", index)}
            file.write(json.dumps(pair) + "\n")


class Server:
    """A process that serves a folder, on a port of its own."""

    def __init__(self, binary, folder):
        command = [binary, "label", "--pairs", str(folder), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            if "http://" in line:
                self.port = int(line.split("http://")[1].split("/")[0].rsplit(":", 1)[1].split()[0])
                return
        raise SystemExit("the server has not said its address")

    def memory(self):
        """Resident memory in KB."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0])

    def end(self, how=signal.SIGINT):
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


class Connection:
    """A connection that is kept, and made anew when the server closes it."""

    def __init__(self, port):
        self.port, self.reader, self.writer = port, None, None

    async def ask(self, method, path, body=b""):
        is_kept = self.writer is not None
        try:
            return await self.ask_once(method, path, body)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.close()
            # The server ends a connection after its time, between two answers; browsers then ask again on a new one.
            if not is_kept or getattr(error, "partial", b""):
                raise
            return await self.ask_once(method, path, body)

    async def ask_once(self, method, path, body):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        lines = answer.decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        content = await self.reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), content

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Load:
    """What was asked for and what was confirmed."""

    def __init__(self, given, port):
        self.given, self.port, self.draw = given, port, random.Random(given.seed)
        self.latencies, self.pages = [], []
        # Of each labeller and pair the changes that were confirmed: (name, sent at, confirmed at).
        self.confirmed, self.unsure, self.refused = {}, {}, []
        self.is_over = False

    def plan(self):
        """What each place of the schedule does: a labeller answers its next pair, takes the last back, or opens a page."""
        answered = {f"labeller {n}": [] for n in range(self.given.labellers)}
        opened = dict.fromkeys(answered, 0)
        for number in range(int(self.given.rate * self.given.seconds)):
            labeller = f"labeller {number % self.given.labellers}"
            kind = self.draw.random() if self.given.mixed else 1
            if kind < 0.02:
                yield number, labeller, "page", None, None
            elif kind < 0.05 and len(answered[labeller]) > 20:
                # One of long ago, whose answer is confirmed by now unless the server stands still.
                yield number, labeller, "undo", answered[labeller].pop(-20), None
            else:
                index = opened[labeller]
                opened[labeller] += 1
                answered[labeller].append(index)
                yield number, labeller, "answer", index, self.draw.choice(CHOICES)

    async def run(self, skip=0, until=None, then=None):
        """Carries out the plan from a place on; before place `until`, while others are under way, `then` is called, and it ends."""
        work, start = asyncio.Queue(), time.perf_counter() - skip / self.given.rate
        workers = [asyncio.create_task(self.worker(work, start)) for _ in range(self.given.connections)]
        place = skip
        for step in list(self.plan())[skip:]:
            place = step[0]
            if until is not None and place >= until:
                then()
                break
            due = start + place / self.given.rate
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            work.put_nowait(step)
        else:
            place += 1
        if until is None:
            await work.join()
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return place

    async def worker(self, work, start):
        connection = Connection(self.port)
        try:
            while True:
                step = await work.get()
                try:
                    await self.take(connection, step, start)
                except (ConnectionError, asyncio.IncompleteReadError, OSError) as error:
                    connection.close()
                    if not self.given.kill:
                        self.refused.append((step, repr(error)))
                finally:
                    work.task_done()
        finally:
            connection.close()

    async def take(self, connection, step, start):
        number, labeller, kind, index, choice = step
        due = start + number / self.given.rate
        if kind == "page":
            for path in PAGE:
                status, body = await connection.ask("GET", path.format(labeller.replace(" ", "%20")))
                if status != 200:
                    self.refused.append((step, f"{path}: {status} {body[:200]}"))
            following = json.loads(body)["next"]
            if following is not None:
                await connection.ask("GET", f"/api/pairs/{following}?labeller={labeller.replace(' ', '%20')}")
            self.pages.append(time.perf_counter() - due)
            return
        body = {"labeller": labeller, "index": index} | ({"undo": True} if kind == "undo" else {"choice": choice})
        key, sent = (labeller, index), time.perf_counter()
        name = choice or "undo"
        self.unsure[key] = name
        status, answer = await connection.ask("POST", "/api/answers", json.dumps(body).encode())
        now = time.perf_counter()
        del self.unsure[key]
        if status != 200:
            self.refused.append((step, f"{status} {answer[:200]}"))
            return
        self.latencies.append(now - due)
        self.confirmed.setdefault(key, []).append((name, sent, now))


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] * 1000 if values else float("nan")


def written(folder):
    """The changes of each labeller and pair in the file: (name, line), in order."""
    found = {}
    for number, line in enumerate((folder / "labels.jsonl").read_bytes().splitlines()):
        line = json.loads(line)
        name = "undo" if line.get("undo") else line["choice"]
        found.setdefault((line["labeller"], line["index"]), []).append((name, number))
    return found


def means(asked, found):
    return found in ("a", "b") if asked in ("left", "right") else asked == found


def check_log(check, load, folder):
    found, wrong, disordered = written(folder), [], 0
    for key, changes in load.confirmed.items():
        lines = [name for name, _ in found.get(key, [])]
        extra = [load.unsure[key]] if key in load.unsure and len(lines) > len(changes) else []
        asked = [name for name, _, _ in changes] + extra
        if len(lines) != len(asked) or not all(map(means, asked, lines)):
            wrong.append((key, asked, lines))
    check("every confirmed change is there once", not wrong, wrong[:3])
    strangers = [key for key in found if key not in load.confirmed and key not in load.unsure]
    check("nothing else is there", not strangers, strangers[:3])
    # By the time of confirmation: whatever was sent later stands below.
    events = []
    for key, changes in load.confirmed.items():
        for (_, sent, confirmed), (_, line) in zip(changes, found.get(key, [])):
            events += [(sent, 0, line), (confirmed, 1, line)]
    highest = -1
    for _, is_confirmed, line in sorted(events):
        if is_confirmed:
            highest = max(highest, line)
        elif line < highest:
            disordered += 1
    check("changes stand in the order of their confirmation", not disordered, f"{disordered} do not")


async def check_sides(check, load, folder, port):
    """The side that is written is the one that the page showed at the place that was chosen."""
    found, connection = written(folder), Connection(port)
    keys = [key for key, changes in load.confirmed.items() if changes[-1][0] in ("left", "right")]
    for labeller, index in load.draw.sample(keys, min(len(keys), 200)):
        _, body = await connection.ask("GET", f"/api/pairs/{index}?labeller={labeller.replace(' ', '%20')}")
        shown = json.loads(body)[load.confirmed[labeller, index][-1][0]]["text"]
        name = found[labeller, index][-1][0]
        check(f"the side of {labeller}, {index}", shown == f"{name} {index}", f"{name}, shown {shown}")
    connection.close()


async def measure(given, check, folder):
    server = Server(given.binary, folder)
    load, began = Load(given, server.port), time.perf_counter()
    if given.kill:
        kill = lambda: server.end(signal.SIGKILL)
        place = await load.run(until=int(given.rate * given.seconds) // 2, then=kill)
        sure = sum(map(len, load.confirmed.values()))
        check_log(check, load, folder)
        print(f"killed after {place} changes, {sure} of them confirmed", flush=True)
        server = Server(given.binary, folder)
        load.port = server.port
        # A page whose answer was not confirmed sends it again.
        again = Connection(load.port)
        for (labeller, index), name in list(load.unsure.items()):
            await load.take(again, (place, labeller, "answer", index, name), time.perf_counter())
        again.close()
        load.latencies.clear()
        await load.run(skip=place)
    else:
        middle = asyncio.create_task(halfway(server, given))
        await load.run()
        print(f"memory: {(await middle)} KB halfway, {server.memory()} KB at the end", flush=True)
    await check_sides(check, load, folder, server.port)
    check("the server ends in order", server.end() == 0)
    check("nothing was refused", not load.refused, load.refused[:3])
    check_log(check, load, folder)
    report(load, time.perf_counter() - began, folder)


async def halfway(server, given):
    await asyncio.sleep(given.seconds / 2)
    return server.memory()


def report(load, seconds, folder):
    changes, times = sum(map(len, load.confirmed.values())), load.latencies
    size = (folder / "labels.jsonl").stat().st_size
    print(f"{changes} changes confirmed in {seconds:.1f} s, {size} bytes of judgements")
    print(f"latency from when it was due: p50 {quantile(times, .5):.1f} ms, p99 {quantile(times, .99):.1f} ms, "
          f"most {quantile(times, 1):.1f} ms")
    if load.pages:
        print(f"{len(load.pages)} pages opened: p50 {quantile(load.pages, .5):.1f} ms, p99 {quantile(load.pages, .99):.1f} ms")


def main():
    # A job in the background of a script ignores interrupts, and so would the server.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rate", type=float, default=1000, help="changes that are due in a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--labellers", type=int, default=8)
    parser.add_argument("--mixed", action="store_true", help="pages are opened and answers taken back in between")
    parser.add_argument("--kill", action="store_true", help="the server is killed in the middle and started again")
    parser.add_argument("--folder", help="a folder on the disk to measure; a temporary one otherwise")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.kill and given.mixed:
        parser.error("after a kill an undo can't be told from one that was asked for twice")
    check = Checks()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        folder = pathlib.Path(folder) / "pairs"
        make_pairs(folder, int(given.rate * given.seconds / given.labellers) + 2)
        asyncio.run(measure(given, check, folder))
    check.end()


if __name__ == "__main__":
    sys.exit(main())
