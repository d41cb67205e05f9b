"""The page of a run in a real browser (Chromium): desktop and phone width, light and dark, print, by keyboard, without a script,
and without a request to anywhere.

    python tests/browser/report.py --binary target/release/hybrid-dpo [--chromium /usr/bin/chromium] [--images docs/images]

Needs the package playwright; Chromium is looked for on the path unless it is named. `--runs TOKEN,DIFFUSION` takes runs that
there are, for the images.
"""

import argparse
import pathlib
import shutil
import subprocess
import tempfile

from playwright.sync_api import expect, sync_playwright

SHORT = ["--max-steps", "6", "--batch-size", "4", "--eval-examples", "8", "--limit", "64", "--quiet"]


def train(binary, folder, mdp, *more):
    subprocess.run([binary, "train", "--mdp", mdp, "--out", folder, *SHORT, *more], check=True, capture_output=True)
    return folder


def report(binary, out, *runs):
    subprocess.run([binary, "report", *runs, "--out", out], check=True, capture_output=True)
    return out


class Watched:
    """A page that fails the test on a message in the console, an error, or a request that leaves the file."""

    def __init__(self, browser, path, **context):
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.fail(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.fail(f"error: {error}"))
        self.page.on("request", self.asked)
        self.failures = []
        self.address = path.resolve().as_uri()
        self.page.goto(self.address)

    def fail(self, what):
        self.failures.append(what)

    def asked(self, request):
        if not request.url.startswith("data:") and request.url.split("#")[0] != self.address:
            self.fail(f"request to {request.url}")

    def __enter__(self):
        return self.page

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert not self.failures, self.failures


def brightness(page, selector, what):
    """The mean of red, green and blue of a computed colour."""
    colour = page.eval_on_selector(selector, f"element => getComputedStyle(element).{what}")
    numbers = colour[colour.index("(") + 1 : colour.index(")")].replace(",", " ").split()[:3]
    return sum(map(float, numbers)) / 3


def fits(page):
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"the page is {wide} pixels wider than the screen"


def check_colours(browser, path):
    for scheme, is_dark in [("light", False), ("dark", True)]:
        for width in [1280, 390]:
            with Watched(browser, path, color_scheme=scheme, viewport={"width": width, "height": 844}) as page:
                assert page.locator("svg.chart").count() >= 8
                assert (brightness(page, "body", "backgroundColor") < 128) == is_dark
                assert (brightness(page, "body", "color") > 128) == is_dark
                # The letters of plots follow the page.
                assert (brightness(page, "svg.chart text", "fill") > 128) == is_dark
                fits(page)


def check_keyboard_and_filter(browser, path):
    with Watched(browser, path, viewport={"width": 1280, "height": 844}) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "A", "the first stop is the list of sections"
        section = page.locator("#answers-before-and-after")
        entries = section.locator(".entry")
        n = entries.count()
        assert n >= 2
        prompt = entries.nth(1).locator(".prompt").inner_text()
        post = next(line for line in prompt.splitlines() if line.startswith("POST:"))
        section.get_by_label("Filter by prompt").focus()
        page.keyboard.type(post[:60])
        expect(section.locator(".entry:visible")).to_have_count(1)
        expect(section.locator(".shown")).to_have_text(f"1 of {n}")
        page.keyboard.press("Control+a")
        page.keyboard.type("no prompt says this")
        expect(section.locator(".entry:visible")).to_have_count(0)
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
        expect(section.locator(".entry:visible")).to_have_count(n)
        heat = page.locator("#rewards-of-tokens .heat span")
        assert heat.count() > 4 and heat.first.get_attribute("title")
        for frame in page.locator(".scroll").all():
            assert frame.get_attribute("tabindex") == "0", "a keyboard can scroll tables"


def check_pictures(browser, path):
    with Watched(browser, path, viewport={"width": 1280, "height": 844}) as page:
        section = page.locator("#pictures-before-and-after")
        entries, tiles = section.locator(".entry"), section.locator(".entry .enlarge")
        n = entries.count()
        assert n >= 2 and tiles.count() == 2 * 4, "each of 4 prompts before and after"
        section.get_by_label("Filter by prompt").fill(entries.nth(1).locator(".prompt").inner_text())
        assert 1 <= section.locator(".entry:visible").count() < n
        visible = section.locator(".entry:visible .enlarge")
        buttons = section.locator(".figures .enlarge")
        assert buttons.count() == 2
        visible.first.click()
        shown = page.locator("#large img")
        assert shown.evaluate("image => image.naturalWidth") >= 24
        # The arrow keys go to what the filter shows: the two sheets and the pictures of one prompt.
        seen = set()
        for _ in range(8):
            seen.add(shown.get_attribute("alt"))
            page.keyboard.press("ArrowRight")
        assert len(seen) == 2 + visible.count(), seen
        page.keyboard.press("Escape")
        section.get_by_label("Filter by prompt").fill("")
        expect(section.locator(".entry:visible")).to_have_count(n)
        dialog = page.locator("#large")
        expect(dialog).to_be_hidden()
        buttons.first.focus()
        page.keyboard.press("Enter")
        expect(dialog).to_be_visible()
        shown = dialog.locator("img")
        assert shown.evaluate("image => image.naturalWidth") > 100
        assert shown.bounding_box()["width"] > buttons.first.bounding_box()["width"]
        first = shown.get_attribute("alt")
        page.keyboard.press("ArrowRight")
        assert shown.get_attribute("alt") != first
        page.keyboard.press("ArrowLeft")
        assert shown.get_attribute("alt") == first
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert page.evaluate("document.activeElement.className") == "enlarge", "the focus is back"


def check_plain(browser, path):
    """Without a script, and on paper."""
    with Watched(browser, path, java_script_enabled=False) as page:
        assert page.locator(".entry:visible").count() >= 2 and page.locator(".controls:visible").count() == 0
    with Watched(browser, path, color_scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert brightness(page, "body", "color") < 128, "paper is white"
        assert page.locator("nav:visible").count() == 0
        assert len(page.pdf()) > 10_000


def shoot(browser, path, images):
    for name, width, height, scheme in [
        ("report-desktop", 1280, 1500, "light"),
        ("report-dark", 1280, 1500, "dark"),
        ("report-phone", 390, 1700, "light"),
    ]:
        with Watched(browser, path, color_scheme=scheme, viewport={"width": width, "height": height}) as page:
            page.screenshot(path=images / f"{name}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--images", type=pathlib.Path)
    parser.add_argument("--runs")
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        folder = pathlib.Path(folder)
        if arguments.runs:
            token, diffusion = map(pathlib.Path, arguments.runs.split(","))
        else:
            token = train(binary, folder / "token", "token")
            diffusion = train(binary, folder / "diffusion", "diffusion", "--n-samples", "4", "--sample-steps", "4")
        one, other = report(binary, folder / "one.html", token), report(binary, folder / "other.html", diffusion)
        both = report(binary, folder / "both.html", token, diffusion)
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        for page in [one, other, both]:
            check_colours(browser, page)
        check_keyboard_and_filter(browser, one)
        check_pictures(browser, other)
        check_plain(browser, one)
        if arguments.images:
            shoot(browser, one, arguments.images)
        browser.close()
    print("the page of a run: desktop and phone, light and dark, keyboard, filter, large pictures, print, no request")


if __name__ == "__main__":
    main()
