"""The label page in a real browser (Chromium): answers by keyboard, a server killed in the middle, several people, a full
disk, the strict content security policy, desktop and phone width.

    python tests/browser/label.py --binary target/release/hybrid-dpo [--chromium /usr/bin/chromium] [--images docs/images]

Needs the package playwright; Chromium is looked for on the path unless it is named.
"""

import argparse
import json
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import zlib

from playwright.sync_api import expect, sync_playwright

# A job in the background of a script ignores interrupts, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

PAIRS = 20
KEYS = ["1", "2", "ArrowLeft", "ArrowRight", "t", "s", "1", "2", "1", "ArrowRight"]


def png(width, height, pixel):
    """An 8-bit RGB PNG; `pixel` gives (red, green, blue) of (x, y)."""
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in pixel(x, y)) for y in range(height))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def circle(red, green, blue, radius, size=64):
    inside = lambda x, y: (x - size / 2) ** 2 + (y - size / 2) ** 2 < radius**2
    return png(size, size, lambda x, y: (red, green, blue) if inside(x, y) else (236, 234, 228))


def latents(pairs):
    """A safetensors file of `a` and `b`, f32 [pairs, 1, 2, 2]."""
    size = pairs * 4 * 4
    entry = lambda at: {"dtype": "F32", "shape": [pairs, 1, 2, 2], "data_offsets": [at, at + size]}
    header = json.dumps({"a": entry(0), "b": entry(size)}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + b"\0" * (2 * size)


def make_pairs(folder, modality="hybrid", nasty=True):
    """A folder of pairs as docs/pairs.md has it. Nasty texts hold what a careless page would take for HTML."""
    tail = ", <img src=x onerror=alert(1)>" if nasty else ""
    request = "a circle, <b>number {}</b> & \"round\"" if nasty else "a round thing, number {}"
    folder.mkdir()
    header = {"format": "hybrid-dpo pairs", "version": 1, "id": f"test-{modality}", "modality": modality, "pairs": PAIRS}
    (folder / "pairs.json").write_text(json.dumps({**header, "settings": {"seed": 0}}))
    with (folder / "pairs.jsonl").open("w") as file:
        for index in range(PAIRS):
            side = lambda name: {
                "refined": f"{'one' if name == 'a' else 'a single'} circle on paper, number {index}{tail}",
                "refined_tokens": [1, 2, 0],
                "null_refiner": False,
                "image": f"images/{index:05}-{name}.png",
                "seed": index,
            }
            text = lambda name: {"response": f"{name} answer <script>alert(1)</script> {index}", "seed": index}
            make = side if modality == "hybrid" else text
            pair = {"index": index, "request": request.format(index), "a": make("a"), "b": make("b")}
            file.write(json.dumps(pair) + "\n")
    if modality == "hybrid":
        (folder / "images").mkdir()
        for index in range(PAIRS):
            radius = 10 + index
            (folder / f"images/{index:05}-a.png").write_bytes(circle(51, 103, 181, radius))
            (folder / f"images/{index:05}-b.png").write_bytes(circle(181, 121, 62, 40 - radius))
        (folder / "latents.safetensors").write_bytes(latents(PAIRS))
    return folder


class Server:
    """`hybrid-dpo label` as a process."""

    def __init__(self, binary, folder, *arguments, port=0, file_limit=None):
        def limit():
            if file_limit:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        command = [binary, "label", "--pairs", folder, "--port", str(port), *arguments]
        # Standard error too: the limit on files would hold for a log this test is written into.
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if file_limit else None,
            text=True,
            preexec_fn=limit,
            restore_signals=False,
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.url
        self.port = int(self.url.split(":")[2].split("/")[0])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 0, "ctrl-C ends it cleanly"


class Page:
    """A browser window of one person, which takes note of whatever the policy refuses or the script complains of."""

    def __init__(self, browser, **options):
        self.complaints = []
        context = browser.new_context(**options)
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', (e) => console.error('CSP ' + e.violatedDirective))"
        )
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))

    def open(self, url, labeller=None):
        self.page.goto(url)
        if labeller:
            self.page.get_by_label("Who labels?").fill(labeller)
            self.page.keyboard.press("Enter")
        self.ready()

    def state(self, *states):
        wanted = ", ".join(f"body[data-state='{state}']" for state in states)
        self.page.locator(wanted).wait_for(state="attached", timeout=30_000)
        return self.page.locator("body").get_attribute("data-state")

    def ready(self):
        assert self.state("ready", "failed") == "ready", self.page.locator("#alert").inner_text()

    def press(self, key):
        """Presses a key and waits until the next pair is there, or all are done."""
        self.page.keyboard.press(key)
        return self.state("ready", "done", "failed")

    def index(self):
        return int(self.page.locator("body").get_attribute("data-index"))

    def shoot(self, path):
        self.page.evaluate("document.activeElement.blur()")
        self.page.mouse.move(1, 1)
        self.page.screenshot(path=path)

    def no_complaints(self):
        assert not self.complaints, self.complaints


def lines(folder):
    return [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]


def standing(folder, labeller):
    """What a labeller's lines come to; every line must be whole and say who, what and of which pairs."""
    found = {}
    for line in lines(folder):
        assert line["version"] == 1 and line["by"] == "person" and line["pairs"].startswith("test-"), line
        if line["labeller"] == labeller:
            found.pop(line["index"], None)
            if not line.get("undo"):
                found[line["index"]] = line["choice"]
    return found


def check_keyboard_and_kill(browser, binary, root):
    folder = make_pairs(root / "pairs")
    server = Server(binary, folder)
    anna = Page(browser, viewport={"width": 1100, "height": 800})
    anna.open(server.url, "anna")
    for number in range(10):
        assert anna.index() == number
        anna.press(KEYS[number])
    server.kill()
    # An answer that could not be sent is not lost silently: the page says so and tries again once there is a server.
    assert anna.press("1") == "failed"
    assert "does not answer" in anna.page.locator("#alert").inner_text()
    anna.complaints.clear()
    server = Server(binary, folder, port=server.port)
    assert set(standing(folder, "anna")) == set(range(10)), "the killed server has lost nothing"
    anna.press("x")
    for number in range(10, 15):
        assert anna.index() == number
        anna.press(KEYS[number - 10])
    # Undo, over a reload too, gives the pair once more.
    anna.press("u")
    assert anna.index() == 14
    anna.page.reload()
    anna.ready()
    assert anna.index() == 14
    anna.press("u")
    assert anna.index() == 13
    for number in range(13, 20):
        assert anna.index() == number
        assert anna.press(KEYS[number - 10]) == ("done" if number == 19 else "ready")
    found = standing(folder, "anna")
    assert sorted(found) == list(range(20)), found
    assert [found[n] for n in (4, 5, 14, 15)] == ["tie", "skip", "tie", "skip"], found
    assert len(lines(folder)) == 20 + 2 * 2, "one line for each answer, and two answers were taken back and given again"
    assert {found[n] for n in range(20) if KEYS[n % 10] == "1"} == {"a", "b"}, "left is not always the same side"
    anna.no_complaints()
    return server, folder, anna


def check_together(browser, server, folder):
    """Two more people at once, by mouse: nobody's answers are lost, and agreement is shown."""
    pages = {name: Page(browser, viewport={"width": 1100, "height": 800}) for name in ("ben", "carl")}
    for name, window in pages.items():
        window.open(server.url, name)
    for number in range(6):
        for window in pages.values():
            assert window.index() == number
            window.page.locator("#left" if number % 2 else "#choose-right").click()
            window.ready()
    for name, window in pages.items():
        assert sorted(standing(folder, name)) == list(range(6)), name
        window.no_complaints()
    expect(pages["carl"].page.locator("#agreement")).to_contain_text("3 people agree in")
    return pages["ben"]


def check_what_is_shown(window):
    """Refined prompts only after the choice, and all texts as text."""
    page = window.page
    index = window.index()
    assert page.locator("#request").inner_text() == f"a circle, <b>number {index}</b> & \"round\""
    assert f"number {index}, <img" not in page.locator("body").inner_text(), "the refined prompt is told too early"
    window.press("2")
    for place in ("left", "right"):
        assert f"number {index}, <img src=x onerror=alert(1)>" in page.locator(f"#refined-{place}").inner_text()
    unnamed = page.locator("button:visible").evaluate_all("all => all.filter((b) => !b.innerText.trim()).length")
    assert unnamed == 0, "every button has a name"
    window.no_complaints()


def check_phone(browser, server):
    options = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
    phone = Page(browser, **options)
    phone.open(server.url + "?labeller=dora")
    phone.page.locator("#choose-left").tap()
    phone.ready()
    assert phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    phone.no_complaints()
    return phone


def take_pictures(browser, binary, root, images):
    """The screenshots of the docs."""
    server = Server(binary, make_pairs(root / "pictures", nasty=False))
    desktop = Page(browser, viewport={"width": 1000, "height": 850})
    desktop.open(server.url, "anna")
    for key in ("1", "2", "t", "2"):
        desktop.press(key)
    desktop.shoot(images / "label-desktop.png")
    check_phone(browser, server).shoot(images / "label-phone.png")
    server.interrupt()


def check_token_and_texts(browser, binary, root):
    folder = make_pairs(root / "texts", "token")
    server = Server(binary, folder, "--token", "a secret & much more", "--labeller", "eve")
    window = Page(browser, viewport={"width": 1100, "height": 800})
    window.open(server.url)
    assert "secret" not in window.page.url, "the token does not stay in the address"
    texts = {window.page.locator(f"#{place} .text").inner_text() for place in ("left", "right")}
    assert texts == {f"{name} answer <script>alert(1)</script> 0" for name in "ab"}, texts
    window.press("1")
    assert list(standing(folder, "eve")) == [0]
    window.no_complaints()
    stranger = Page(browser)
    stranger.page.goto(server.url.split("#")[0])
    stranger.page.get_by_label("Token").fill("a guess")
    stranger.page.keyboard.press("Enter")
    expect(stranger.page.locator("#hint")).to_have_text("this is not the token")
    server.interrupt()


def check_full_disk(browser, binary, root):
    """A limit on the file's size plays the full disk: the third line does not fit, and only a part of it is written."""
    folder = make_pairs(root / "full")
    server = Server(binary, folder, "--labeller", "fay", file_limit=256)
    window = Page(browser)
    window.open(server.url)
    assert window.press("t") == "ready" and window.press("t") == "ready"
    before = (folder / "labels.jsonl").read_bytes()
    statuses = []
    window.page.on("response", lambda response: statuses.append(response.status))
    assert window.press("t") == "failed"
    assert 507 in statuses, statuses
    assert "disk is full" in window.page.locator("#alert").inner_text()
    assert (folder / "labels.jsonl").read_bytes() == before, "no half line is left"
    server.kill()
    server = Server(binary, folder, "--labeller", "fay", port=server.port)
    window.press("x")
    window.press("t")
    assert sorted(standing(folder, "fay")) == [0, 1, 2]
    server.interrupt()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--images", type=pathlib.Path, help="a folder for the screenshots of the docs")
    options = parser.parse_args()
    binary = options.binary.resolve()
    with tempfile.TemporaryDirectory() as root, sync_playwright() as playwright:
        root = pathlib.Path(root)
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        server, folder, _ = check_keyboard_and_kill(browser, binary, root)
        ben = check_together(browser, server, folder)
        check_what_is_shown(ben)
        check_phone(browser, server)
        server.interrupt()
        check_token_and_texts(browser, binary, root)
        check_full_disk(browser, binary, root)
        if options.images:
            take_pictures(browser, binary, root, options.images)
        browser.close()
    print("label page: all checks passed")


if __name__ == "__main__":
    main()
