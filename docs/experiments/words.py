"""The words that `altered.py` changes, and what it changes them to: tables of one kind a line, and numbers."""

import re
from dataclasses import dataclass

# Rows of words that can stand for each other; a word's forms are joined by a slash, and are changed alike.
TABLES = {
    "relation": """
        boyfriend/boyfriends girlfriend/girlfriends
        husband/husbands wife/wives
        brother/brothers sister/sisters
        mother/mothers father/fathers
        mom/moms dad/dads
        son/sons daughter/daughters
        uncle/uncles aunt/aunts
        nephew/nephews niece/nieces
        grandmother/grandmothers grandfather/grandfathers
        grandma/grandmas grandpa/grandpas
        man/men woman/women
        male/males female/females
        guy/guys girl/girls
        friend/friends cousin/cousins neighbor/neighbors coworker/coworkers roommate/roommates
        boss/bosses landlord/landlords teacher/teachers professor/professors
        parents grandparents
    """,
    "time": """
        hour/hours day/days week/weeks month/months year/years
        Monday/Mondays Tuesday/Tuesdays Wednesday/Wednesdays Thursday/Thursdays Friday/Fridays Saturday/Saturdays Sunday/Sundays
        January February March April May June July August September October November December
        Christmas Easter Thanksgiving Halloween
        summer/summers winter/winters
        morning/mornings afternoon/afternoons
        yesterday today tomorrow
    """,
    "place": """
        Europe Asia Africa America Australia
        Germany France Spain Italy Hungary Poland Canada Mexico Japan
        California Colorado Florida Texas Ohio Oregon Michigan
        Boston Dallas Chicago Seattle Denver Budapest
        UK US
        store/stores bank/banks library/libraries
        restaurant/restaurants bar/bars cafe/cafes
        gym/gyms pool/pools
        hospital/hospitals hotel/hotels church/churches
        house/houses apartment/apartments cabin/cabins trailer/trailers
        town/towns city/cities village/villages
    """,
    "name": """
        Jim Bob Chris Kevin Mark Steve
        Angela Emily Marika Laura Rachel Megan
        Facebook Twitter Instagram Snapchat
        Visa Mastercard Amex Discover
        Garmin Fitbit Polar
        Amazon Walmart Target
        Greek Spanish Italian German
        Mandarin Japanese Korean Cantonese
        dog/dogs cat/cats rabbit/rabbits
        puppy/puppies kitten/kittens
    """,
}
NAMES = "zero one two three four five six seven eight nine ten eleven twelve".split()
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety"}
WRITTEN = {**dict(enumerate(NAMES)), **TENS}
# Digits that are no part of a fraction, a time, a decimal, an ordinal or a longer word.
DIGITS = r"(?<![\w.,/:])(?:\d{1,3}(?:,\d{3})+|\d+)(?![\d]|[.,:/]\d|(?:st|nd|rd|th)\b|\s\d+/)"
NUMBER = re.compile(rf"{DIGITS}|\b(?:{'|'.join(WRITTEN.values())})\b", re.IGNORECASE)
VOWELS = re.compile(r"[aeiou]|8|11(?!\d)|18(?!\d)", re.IGNORECASE)


@dataclass(frozen=True)
class Word:
    """A word of the tables with its forms."""

    kind: str
    forms: tuple
    row: int

    def matches(self, text):
        flags = 0 if self.forms[0][0].isupper() else re.IGNORECASE
        return list(re.finditer(rf"\b(?:{'|'.join(self.forms)})\b(?![- ]old)", text, flags))

    def written_as(self, found, other):
        form = other.forms[[form.lower() for form in self.forms].index(found.lower())]
        if found.isupper() and len(found) > 2:
            return form.upper()
        return form[0].upper() + form[1:] if found[0].isupper() else form

    def others(self):
        return [other for other in WORDS if (other.kind, other.row) == (self.kind, self.row) and other != self]


@dataclass(frozen=True)
class Number:
    """A number, in digits or as a word."""

    value: int
    kind: str = "number"

    def matches(self, text):
        return [match for match in NUMBER.finditer(text) if value_of(match.group()) == self.value]

    def written_as(self, found, other):
        if found[0].isdigit():
            return f"{other.value:,}" if "," in found else str(other.value)
        word = WRITTEN[other.value]
        return word.capitalize() if found[0].isupper() else word

    def others(self):
        value = self.value
        if value <= 12:
            near = [n for n in range(2, 13) if abs(n - value) <= 3]
        elif 1900 <= value <= 2030:
            near = range(value - 9, min(value + 10, 2026))
        elif value % 10 == 0:
            unit = 10 ** (len(str(value)) - len(str(value).rstrip("0")))
            near = [value + unit * by for by in range(-4, 5)]
        else:
            near = range(value - 9, value + 10)
        # Adults stay adults, and numbers of two digits keep two.
        least = 18 if value >= 18 else 13 if value >= 13 else 2
        return [Number(n) for n in near if n != value and n >= least and len(str(n)) == len(str(value))]


def value_of(text):
    text = text.lower().replace(",", "")
    return int(text) if text.isdigit() else next(value for value, word in WRITTEN.items() if word == text)


def words():
    for kind, table in TABLES.items():
        for row, line in enumerate(table.split("\n")):
            for forms in line.split():
                yield Word(kind, tuple(forms.split("/")), row)


WORDS = list(words())


def concepts_in(text):
    """The words and numbers of a text that can be altered, in a fixed order."""
    numbers = sorted({value_of(match.group()) for match in NUMBER.finditer(text)} - {0, 1})
    return [word for word in WORDS if word.matches(text)] + [Number(value) for value in numbers]


def is_in(concept, texts):
    if isinstance(concept, Number):
        word = WRITTEN.get(concept.value, str(concept.value))
        digits = re.compile(rf"(?<!\d){concept.value}(?!\d)|{concept.value:,}|\b{word}\b", re.IGNORECASE)
        return any(digits.search(text) for text in texts)
    return any(re.search(rf"\b{form}\b", text, re.IGNORECASE) for text in texts for form in concept.forms)


def articles_agree(concept, other, texts):
    """Whether "a" or "an" before any occurrence suits the substitute."""
    for text in texts:
        for match in concept.matches(text):
            before = re.search(r"\b(an?)\s+$", text[: match.start()], re.IGNORECASE)
            new = concept.written_as(match.group(), other)
            if before and (before.group(1).lower() == "an") != bool(VOWELS.match(new)):
                return False
    return True


def substitute(concept, texts, taken, rng):
    """Draws a substitute that no text has; `None` if there is none."""
    words = any(not match.group()[0].isdigit() for text in texts for match in concept.matches(text))
    fit = [
        other
        for other in concept.others()
        if other not in taken
        and not is_in(other, texts)
        and articles_agree(concept, other, texts)
        and (concept.kind != "number" or not words or other.value in WRITTEN)
    ]
    return rng.choice(fit) if fit else None
