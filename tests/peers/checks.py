"""What all peer scripts count their checks with."""


class Checks:
    """Prints each check and keeps count; `end` prints the count and leaves with 1 where one failed."""

    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, name, difference, tolerance):
        good = difference <= tolerance
        self.passed, self.failed = self.passed + good, self.failed + (not good)
        print(f"{'ok ' if good else 'BAD'} {name}: largest difference {difference:.1e}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        raise SystemExit(self.failed > 0)
