"""Pictures of heat maps: the first falsified summary of each of the first ten posts of a file, as `credit --html` shows them.

    pip install playwright                                                # and a Chromium
    python docs/experiments/heat_maps.py ten HELD_OUT.jsonl TEN.jsonl
    hybrid-dpo credit --model RUN --reference MODEL --data TEN.jsonl --html TEN.html ..
    python docs/experiments/heat_maps.py shoot TEN.html KIND OUT          # OUT-1.png, OUT-2.png: five answers each

KIND is the number of the kind of credit on the page: 0 log-ratio, 3 policy alone, 4 reference alone.
"""

import json
import pathlib
import sys


def ten(held_out, out):
    first = {}
    for pair in map(json.loads, open(held_out)):
        first.setdefault(pair["post"], pair)
    kept = [{"prompt": p["prompt"], "response": p["rejected"], "spans": p["spans"]} for p in list(first.values())[:10]]
    pathlib.Path(out).write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))


def shoot(page_file, kind, out):
    from playwright.sync_api import sync_playwright

    address = pathlib.Path(page_file).resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page(viewport={"width": 900, "height": 1200}, device_scale_factor=1)
        page.goto(address)
        page.check(f"#c{kind}")
        for half in (0, 1):
            # An answer is a heading and what follows it; nothing else is shown.
            page.evaluate(
                """half => {
                    let answer = -1;
                    for (const part of document.querySelectorAll("header, section:not(#answers), #answers > *")) {
                        answer += part.matches("#answers > h3");
                        const shown = part.matches("#answers > h3, .heat") && Math.floor(answer / 5) === half;
                        part.style.display = shown ? "" : "none";
                    }
                }""",
                half,
            )
            page.locator("body").screenshot(path=f"{out}-{half + 1}.png")
        browser.close()


if __name__ == "__main__":
    {"ten": ten, "shoot": shoot}[sys.argv[1]](*sys.argv[2:])
