"""Words of every script, whole as people see them, in time that their number explains."""

from __future__ import annotations

import time
import unicodedata

import pytest
import regex

from dpe_mner.data.words import split_text
from dpe_mner.representations.plain import plain_word
from dpe_mner.representations.windows import WindowTokenizer
from dpe_mner.settings import EncoderSettings
from dpe_mner.types import Post

NAMES = {  # a first and a second name; every one has signs that belong to the letter before or around them
    "Arabic": "مُحَمَّد عَلِيّ",
    "Bengali": "শেখ মুজিবুর",
    "Burmese": "အောင်ဆန်း စုကြည်",
    "Devanagari": "नरेन्द्र मोदी",
    "Ethiopic": "አበበ ቢቂላ",
    "Gujarati": "મહાત્મા ગાંધી",
    "Gurmukhi": "ਮਨਮੋਹਨ ਸਿੰਘ",
    "Hangul of parts": unicodedata.normalize("NFD", "손흥민 선수"),
    "Hebrew": "שָׁלוֹם עֲלֵיכֶם",
    "Javanese": "ꦱꦸꦏꦂꦤꦺꦴ ꦗꦮ",
    "Kannada": "ವಿಷ್ಣುವರ್ಧನ್ ಕುವೆಂಪು",
    "Khmer": "នរោត្តម សីហនុ",
    "Lao": "ພູມີ ວົງວິຈິດ",
    "Latin with accents apart": unicodedata.normalize("NFD", "Nguyễn Ánh"),
    "Malayalam": "മോഹൻലാൽ വിശ്വനാഥൻ",
    "Mongolian": "ᠴᠢᠩᠭᠢᠰ ᠬᠠᠭᠠᠨ",
    "N'Ko": "ߛߟߏߡߊߣߊ߫ ߞߊ߲ߕߍ߫",
    "Odia": "ବିଜୁ ପଟ୍ଟନାୟକ",
    "Sinhala": "ශ්‍රී ලංකා",
    "Syriac": "ܡܳܪܝ ܐܰܦܪܶܝܡ",
    "Tamil": "ரஜினிகாந்த் கோயம்புத்தூர்",
    "Telugu": "నందమూరి తారక రామారావు",
    "Thaana": "މުޙައްމަދު ނަޝީދު",
    "Thai": "สมชาย ใจดีน้ำ",
}


@pytest.mark.parametrize("script", NAMES)
def test_a_name_of_any_script_is_cut_at_its_spaces_alone(script):
    text = NAMES[script]
    assert list(split_text(text).words) == text.split(" ")
    assert list(split_text(f"@{text}: ok").words) == ["@", *text.split(" "), ":", "ok"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("བསྟན་འཛིན་རྒྱ་མཚོ།", ["བསྟན", "་", "འཛིན", "་", "རྒྱ", "་", "མཚོ", "།"]),  # Tibetan syllables
        ("東京とﾊﾞﾝ", ["東", "京", "と", "ﾊﾞ", "ﾝ"]),
        ("が゙か\u3099", ["が゙", "か\u3099"]),
        ("𠮷野家 \U00030000", ["𠮷", "野", "家", "\U00030000"]),
        ("Ke\u00advin Du\u200brant Le\u200dBron Mc\u2060Gee Jo\ufeffsh", None),
        ("می\u200cخواهم", None),
        ("\u2068Kevin\u2069", ["\u2068", "Kevin", "\u2069"]),
        ("ជា\u200bការ", ["ជា", "\u200b", "ការ"]),  # here a zero-width space is what parts two words
        ("𝐊𝐞𝐯𝐢𝐧 Ｋｅｖｉｎ Ⓚⓔⓥⓘⓝ ᴷᵉᵛⁱⁿ ﬁve", None),
        ("½ x² №", ["½", "x²", "№"]),
    ],
)
def test_what_is_not_seen_or_dressed_up_does_not_cut_a_word(text, expected):
    assert list(split_text(text).words) == (text.split(" ") if expected is None else expected)


ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{ENGLAND}{ENGLAND}won", [ENGLAND, ENGLAND, "won"]),
        ("🇺🇸🇬🇧🇫", ["🇺🇸", "🇬🇧", "🇫"]),
        ("go🇺🇸go", ["go", "🇺🇸", "go"]),
        ("👩‍❤️‍💋‍👨👍🏽🏴‍☠️", ["👩‍❤️‍💋‍👨", "👍🏽", "🏴‍☠️"]),
        ("1️⃣2️⃣#️⃣3\u20e3 i", ["1️⃣", "2️⃣", "#️⃣", "3\u20e3", "i"]),
        ("❤️©️™", ["❤️", "©️", "™"]),
        ("ℹ️Kevin", ["ℹ️", "Kevin"]),
    ],
)
def test_an_emoji_is_one_word_with_all_that_is_joined_to_it(text, expected):
    assert list(split_text(text).words) == expected


def test_a_sign_repeated_without_end_is_one_word_and_a_short_run_is_not():
    assert len(split_text("!" * 20)) == 20
    words = split_text("a " + "_" * 21 + "!!b😀" + "😂" * 300 + "東" * 30)
    assert list(words.words) == ["a", "_" * 21, "!", "!", "b", "😀", "😂" * 300, "東" * 30]
    assert len(split_text("! " * 30)) == 30  # apart, each stands alone


def check(text: str) -> None:
    """What holds of every text: exact offsets, nothing but space left out, no character cut."""
    words = split_text(text)
    places = list(zip(words.starts, words.ends, strict=True))
    assert [text[a:b] for a, b in places] == list(words.words)
    edges = {0, len(text)} | {match.end() for match in regex.finditer(r"\X", text)}
    position = 0
    for start, end in places:
        assert position <= start < end
        assert {start, end} <= edges
        assert not text[position:start].strip()
        position = end
    assert not text[position:].strip()


def test_every_character_there_is_keeps_the_offsets_exact():
    alike = regex.compile(
        r"[\p{Han}\p{Hangul}\p{Tangut}\p{Co}\p{Cs}]"
    )  # thousands in a row: every thirty-first will do
    letters = (chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) != "Cn")
    known = [c for c in letters if ord(c) % 31 == 0 or not alike.match(c)]
    assert len(known) > 25_000
    for first in range(0, len(known), 512):
        part = known[first : first + 512]
        check("".join(part))
        check(" a".join(part))
        check("\u0301é".join(part))


def test_a_letter_of_any_script_with_its_sign_is_one_word():
    letters = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) in {"Lu", "Ll", "Lt", "Lo", "Nd"}]
    alone = regex.compile(r"[\p{Ideographic}\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d\U0001aff0-\U0001b16f]")
    joined = [
        c
        for c in letters
        if not alone.match(c) and not regex.match(r"[\p{GCB=Prepend}\p{GCB=SpacingMark}\p{GCB=Extend}]", c)
    ]
    text = " ".join(f"{c}\u0301{c}" for c in joined)
    assert len(joined) > 15_000
    assert list(split_text(text).words) == text.split(" ")


HUGE = 100_000
LONG = {
    "underscores": "_" * HUGE,
    "flags": "🇺🇸" * (HUGE // 2),
    "odd flags": "🇺" * (HUGE - 1) + "é",
    "flags after a sign": "\u0600" + "🇺🇸" * (HUGE // 2),
    "accents": "e" + "\u0301" * HUGE,
    "joiners": "👩\u200d" * (HUGE // 2),
    "tags": "🏴" + "\U000e0067" * HUGE,
    "prefixes": "\u0600" * HUGE,
    "conjuncts": "क\u094d" * (HUGE // 2),
    "soft hyphens": "é" + "\u00ad" * HUGE,
    "hyphenated": "é\u00ad" * (HUGE // 2),
    "Thai": "กำ" * (HUGE // 2),
    "accented spaces": "é \u0301" * (HUGE // 3),
    "space": "é" + " " * HUGE,
    "mixed signs": "é*-" * (HUGE // 3),
    "half characters": "\ud800" * HUGE,
    "ideographs": "東京" * (HUGE // 2),
}


@pytest.mark.parametrize("kind", LONG)
def test_a_hundred_thousand_characters_are_split_in_no_time(kind):
    started = time.process_time()
    words = split_text(LONG[kind])
    assert time.process_time() - started < 5  # one to two seconds at most; a quadratic search takes minutes
    assert all(words.words)


@pytest.mark.parametrize("kind", ["underscores", "flags", "accents", "tags", "Thai", "soft hyphens"])
def test_a_post_of_few_words_is_answered_at_once_however_long_they_are(build, kind):
    model = build()
    model.predict("warm up")
    started = time.process_time()
    assert isinstance(model.predict(LONG[kind], caption=LONG[kind], tags=[LONG[kind]]), list)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("word", "plain"),
    [
        ("𝐊𝐞𝐯𝐢𝐧", "Kevin"),
        ("Ｋｅｖｉｎ", "Kevin"),
        ("ⓀⓔⓥⓘⓝⒹ", "KevinD"),
        ("𝒦ₑᵥᵢₙ", "Kevin"),
        ("𝟛𝟝", "35"),
        ("ﬁnal", "final"),
        ("ﾊﾞﾝ", "バン"),
        ("Ke\u00advi\u200bn", "Kevin"),
        ("a\ud800", "a\ufffd"),
        ("…", "…"),  # as the corpora have them
        ("Park…", "Park…"),
        ("x²", "x²"),
        ("ㅋㅋ", "ㅋㅋ"),
        ("！", "！"),
        (ENGLAND, ENGLAND),
        ("می\u200cخ", "می\u200cخ"),
        ("e\u0301", "e\u0301"),
    ],
)
def test_the_encoder_reads_plain_letters(word, plain):
    assert plain_word(word) == plain


def test_dressed_up_names_have_the_pieces_of_plain_ones_and_their_own_offsets(build):
    tokenizer = build().tokenizer
    plain, dressed = (tokenizer.windows(Post(text=t), split_text(t))[0] for t in ("Kevin wins", "𝐊𝐞𝐯𝐢𝐧 ｗｉｎｓ"))
    assert dressed.text == plain.text
    assert list(dressed.words) == ["𝐊𝐞𝐯𝐢𝐧", "ｗｉｎｓ"]
    reading = WindowTokenizer(tokenizer.pretrained, EncoderSettings(), max_pieces=64, characters=True)
    codes = [reading.windows(Post(text=t), split_text(t))[0].characters for t in ("Kevin", "𝐊𝐞𝐯𝐢𝐧")]
    assert codes[0] == codes[1]


def test_the_answer_to_a_dressed_up_name_is_that_of_the_plain_one():
    import dpe_mner

    model = dpe_mner.load(backend="onnx")
    plain, wide = "Kevin Durant in Paris", "𝐊𝐞𝐯𝐢𝐧 𝐃𝐮𝐫𝐚𝐧𝐭 in Ｐａｒｉｓ"
    found = [[(e.label, e.word_start, e.word_end, e.score) for e in model.predict(t)] for t in (plain, wide)]
    assert found[0] == found[1] != []
    assert [e.text for e in model.predict(wide)] == ["𝐊𝐞𝐯𝐢𝐧 𝐃𝐮𝐫𝐚𝐧𝐭", "Ｐａｒｉｓ"]
