"""Words, numbers and scripts that the skills draw from, and the split that keeps test words unseen.

A word belongs to the test split iff the CRC-32 of its lower-case form is 0 modulo 10. Training draws
only from the other nine tenths, evaluation only from that tenth, so no test word occurs in training. The
prompts' own words are taught as words to copy, too, and never tested.
"""

import unicodedata
import zlib
from random import Random

ONSETS = (
    "b c d f g h j k l m n p q r s t v w x y z br ch cl cr dr fl fr gl gr kl kr ph pl pr qu "
    "sc sh sk sl sm sn sp st str sw th tr tw wh zh"
).split() + [""] * 3
VOWELS = "a e i o u a e i o u ai ea ee ie oa oo ou y ia ei".split()
CODAS = (
    "b d f g k l m n p r s t x z ck ld ll lt mb nd ng nk nt rd rk rm rn rt sh ss st th"
).split() + [""] * 24

NOUNS = """weather lamp timer alarm room table ticket flight train bus hotel song movie book page note task event
meeting invoice order payment account balance price stock rate file folder image photo video message email letter
phone address city country river mountain lake forest garden kitchen window door lock heater fan camera sensor
robot printer screen battery engine wheel bridge road route map garage market shop recipe dish drink coffee tea bread
cheese apple orange lemon melon plum pear grape carrot potato onion pepper sugar salt soup cake pizza pasta rice bean
shirt shoe hat coat glove ring watch chair sofa bed desk shelf mirror carpet curtain basket bottle cup plate spoon
knife box bag key coin stamp pencil paper brush paint bell drum violin guitar piano flute horse dog cat bird fish frog
tiger lion bear wolf fox rabbit mouse snake turtle spider bee ant whale shark eagle owl crow swan duck goose planet
moon star comet rocket satellite temperature humidity wind pressure speed distance height weight size color colour
age year month week day hour minute score level status version language currency population capital author title
owner manager teacher doctor pilot driver student team club school office station museum library theater park zoo
harbor airport castle tower temple village island desert valley beach storm cloud rain snow fog thunder sunrise
sunset spring summer autumn winter budget salary tax loan budget ledger parcel package delivery warehouse inventory
ticket seat menu playlist album channel episode server database table column record index query cluster token model
report chart survey lesson exam course grade certificate license passport visa permit badge""".split()

VERBS = """get set find add remove update create delete open close start stop send read write book cancel check
show list play pause move copy rename save load print search fetch make count sort lock unlock turn switch schedule
order buy sell rent pay convert translate measure compare track clean paint repair build plan call notify share
upload download archive restore reset enable disable assign reserve publish review approve reject""".split()

KEYS = """name city country room level count size color date time day hour minute title author price amount unit
id code status owner speed height width length weight depth volume limit page query language mode kind type tag label
text message subject body path file folder url host port user email phone address street zip region state number
quantity age year month brightness temperature duration distance priority score rank rating currency format source
target start end from_city to_city user_id order_id item product category brand model version channel zone floor seat
active enabled visible open urgent admin public paid done ready""".split()

NAMES = """Anna Ben Clara David Emma Felix Greta Hugo Iris Jonas Karl Lena Mara Nils Olga Paul Quinn Rosa Simon Tara
Uwe Vera Willy Xenia Yann Zoe Alice Bob Carol Dan Eve Frank Grace Heidi Ivan Judy Mallory Niaj Oscar Peggy Rupert
Sybil Trent Victor Wendy Ada Grace Linus Ken Dennis Edsger Barbara Donald Tim Margaret Alan Paris London Berlin Rome
Madrid Vienna Prague Oslo Lisbon Dublin Athens Warsaw Zurich Geneva Lyon Milan Turin Naples Porto Seville Hamburg
Munich Cologne Tokyo Kyoto Osaka Seoul Delhi Mumbai Cairo Lagos Nairobi Accra Lima Quito Bogota Havana Boston Chicago
Denver Austin Dallas Seattle Portland Toronto Montreal Sydney Perth Auckland""".split()

# Words of the prompts themselves. Never in the test split: each is an entry of the vocabulary, and the head must have
# seen it as an answer before it can say it.
TAUGHT = """able about access add after again am an and answer answers are arguments array as ask asked assistant at away backwards be
best big blue boolean born box brief briefly busy calculate call called calls can cannot careful chat check city closed
cloudy code cold compute content copy count day demonstration describe description do does done draw dry early echo else
empty enum error essay evening exactly experts explain facts failed false fast fetch fill find fits flashmoe following for
free french from full function functions get gets give gives good green greetings has have heavy hello help helpful here
hey hi high history hot how human id ideas in integer into introduce invented is items joke json kind know late left letter
light like list look loud low made make many me messages minus mixture model more morning much my name need new none not
nothing now number object of ok old one only open or order out parameters party plan please plus poem properties put puts
quiet rainy ready reasoning recipe red repeat reply report required result reverse review role round run same say schema
sharp should show shows skill slow small song speech status story string subtract success sum summarize summary sunny
system table take takes tale talking tell text that the there these think thinking this tiny to tool tools translate trip
true type unicode up use used user value values want warm was week wet what when where which who why windy with words work
works write you your yourself""".split()

LETTERS = "abcdefghijklmnopqrstuvwxyz"

# Terms with marks that would otherwise never be copied.
MARKED = (
    "({w})", "[{w}]", "{{{w}}}", "<{w}>", "'{w}'", "#{w}", "@{w}", "${n}", "{n}%", "{w}/{v}", "{w}@{v}", "{w}&{v}", "*{w}*",
    "~{w}", "^{w}", "`{w}`", "{w};", "{w}?", "{w}!", "({n})", "[{n}]", "{n}/{w}", "+{n}", "-{n}", "{w}()", "{w}[{n}]",
)  # fmt: skip

# Blocks for multi-byte text: (first, last) code points, all older than any supported Python.
SCRIPTS = {
    "latin": [(0xC0, 0x17F)],
    "greek": [(0x391, 0x3A9), (0x3B1, 0x3C9)],
    "cyrillic": [(0x410, 0x44F)],
    "hebrew": [(0x5D0, 0x5EA)],
    "arabic": [(0x627, 0x64A)],
    "hiragana": [(0x3041, 0x3096)],
    "katakana": [(0x30A1, 0x30FA)],
    "ipa": [(0x250, 0x2AF)],
    "armenian": [(0x561, 0x586)],
    "devanagari": [(0x905, 0x939)],
    "thai": [(0xE01, 0xE2E)],
    "georgian": [(0x10D0, 0x10F0)],
    "fullwidth": [(0xFF10, 0xFF5A)],
    "han": [(0x4E00, 0x9FA5)],
    "hangul": [(0xAC00, 0xD7A3)],
    "symbols": [(0x2190, 0x21FF), (0x2200, 0x22FF), (0x2600, 0x26FF)],
    "emoji": [(0x1F330, 0x1F37C), (0x1F400, 0x1F4FC), (0x1F600, 0x1F640)],
}


_TAUGHT = frozenset(TAUGHT)


def is_test(word: str) -> bool:
    """True when `word` is kept for evaluation."""
    return word.lower() not in _TAUGHT and zlib.crc32(word.lower().encode()) % 10 == 0


class Source:
    """Draws words and values of one split from one random stream. Training has two stages; the second is harder."""

    def __init__(self, rng: Random, test: bool, stage: int = 1):
        self.rng = rng
        self.test = test
        self.second = stage == 2
        pick = lambda words: sorted({w for w in words if is_test(w) == test})
        self.nouns, self.verbs, self.keys, self.names = map(pick, (NOUNS, VERBS, KEYS, NAMES))
        self.taught = [] if test else TAUGHT

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def pick(self, options):
        return options[int(self.rng.random() * len(options))]

    def _until_split(self, draw) -> str:
        while True:
            word = draw()
            if is_test(word) == self.test:
                return word

    def syllables(self) -> str:
        """One to three random syllables, e.g. `trelvok`."""
        n = self.pick((1, 2, 2, 2, 3))
        return "".join(self.pick(ONSETS) + self.pick(VOWELS) + self.pick(CODAS) for _ in range(n))

    def letters(self) -> str:
        return "".join(self.pick(LETTERS) for _ in range(self.rng.randint(2, 7)))

    def made_up(self) -> str:
        return self._until_split(self.letters if self.chance(0.12) else self.syllables)

    def word(self) -> str:
        """A lower-case word: mostly made up, sometimes English."""
        if self.taught and self.chance(0.08):
            return self.pick(self.taught)
        return self.pick(self.nouns) if self.chance(0.2) else self.made_up()

    def name(self) -> str:
        """A capitalised proper name."""
        if self.taught and self.chance(0.05):
            return self.pick(self.taught).capitalize()
        return self.pick(self.names) if self.chance(0.2) else self.made_up().capitalize()

    def term(self) -> str:
        """A word in any case, sometimes with digits or a hyphen: what a user may want copied."""
        r = self.rng.random()
        if r < 0.55:
            return self.word()
        if r < 0.85:
            return self.name()
        if r < 0.90:
            return self.word().upper()
        if r < 0.94:
            return f"{self.made_up()}{self.pick('-_.')}{self.made_up()}"
        if r < 0.97:
            return self.pick(MARKED).format(w=self.word(), n=self.integer(), v=self.made_up())
        return f"{self.made_up()}{self.integer()}"

    def terms(self, low: int, high: int) -> list[str]:
        """Between `low` and `high` different terms."""
        return self.distinct(self.term, self.rng.randint(low, high))

    def distinct(self, draw, n: int) -> list[str]:
        seen: dict[str, None] = {}
        while len(seen) < n:
            seen[draw()] = None
        return list(seen)

    def noun(self) -> str:
        return self.pick(self.nouns) if self.chance(0.55) else self.made_up()

    def verb(self) -> str:
        return self.pick(self.verbs) if self.chance(0.75) else self.made_up()

    def key(self) -> str:
        """A parameter or property name in snake_case."""
        r = self.rng.random()
        if r < 0.6:
            return self.pick(self.keys)
        if r < 0.8:
            return self.made_up()
        return f"{self.word()}_{self.pick(self.keys)}"

    def integer(self) -> int:
        return self.rng.randrange(10 ** self.pick((1, 2, 2, 3, 3, 4)))

    def decimal(self) -> str:
        return f"{self.rng.randrange(100)}.{self.rng.randint(1, 9)}"

    def phrase(self) -> str:
        """One to three terms separated by spaces."""
        return " ".join(self.terms(1, self.pick((1, 1, 1, 2, 3))))

    def foreign(self) -> str:
        """A run of one to five characters of one script outside ASCII, in NFC."""
        ranges = SCRIPTS[self.pick(tuple(SCRIPTS))]
        out = ""
        for _ in range(self.rng.randint(1, 5)):
            while True:
                c = chr(self.rng.randint(*self.pick(ranges)))
                if unicodedata.category(c) not in ("Cn", "Mn") and unicodedata.normalize("NFC", c) == c:
                    break
            out += c
        return unicodedata.normalize("NFC", out)
