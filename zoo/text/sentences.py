"""Splitting of texts into sentences, the same in Python and in a TensorFlow graph.

A list of rules is all there is: regular expressions in the language that Python's `re` and RE2, the
engine of TensorFlow's string operations, have in common. They put a mark where a sentence may end,
and take it away again after abbreviations, initials and ordinal numbers. Classes of characters are
spelled out, as those with a name differ between the two. Repetitions are bounded, or nothing that
could fail comes after them, so that Python's backtracking stays linear in the length of a text.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

RULES_VERSION = 1  # a model that was trained on sentences says which rules made them


def _characters(belongs: Callable[[str], bool]) -> str:
    """The ranges of a class: its characters up to the end of the alphabets of the first plane."""
    numbers = [n for n in range(0x2E80) if belongs(chr(n))]
    runs = (list(run) for _, run in itertools.groupby(enumerate(numbers), lambda p: p[1] - p[0]))
    return "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in runs)


_END = "\x1e"  # marks the end of a sentence
_LOWER = _characters(str.islower)
_LETTER = _LOWER + _characters(str.isupper)
_INITIAL = _characters(lambda c: c.isupper() and c != "I")
SPACE = " \t\v\f\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES = f"[{SPACE}]{{1,9}}"
_MARK = ".!?…‽։؟۔\u037e"  # an end where white space comes after it; the last is the Greek "?"
_WIDE = "。！？｡．।॥።፧။។៕།༎"  # an end without white space, too
_IDEOGRAPH = "ぁ-ヿ㐀-䶿一-鿿"  # and kana
_OPENING = "[\"'*_(\\[{«‹‘“‚„¿¡]{0,3}"
_CLOSED = "[\"'*_)\\]}«»‹›‘’“”]"
_WIDE_CLOSED = "[\"'’”」』）)》〉】]{0,4}"
_BEFORE = f"(?:^|[^{_LETTER}0-9+])"  # a word; of the keys Ctrl+C the second is none
_GAP = f"\\.{_END}?[{SPACE}]?"  # within an abbreviation of several words
# A run of these is no word, so it is an abbreviation.
_CONSONANT = "b-df-hj-np-tv-xzB-DF-HJ-NP-TV-XZб-джзй-нп-тф-щБ-ДЖЗЙ-НП-ТФ-Щ"
_CONTINUED = f"(?:{_SPACES}[–—-])?{_SPACES}{_OPENING}[{_LOWER}]"


def _any(words: str) -> str:
    """A pattern of words, also with a capital letter at the beginning."""
    return f"(?:{'|'.join(dict.fromkeys(f(w) for w in words.split() for f in (str, _capital)))})"


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


# These stand before a name, a number, or what else goes on with the sentence.
_TITLES = _any("""
    mr mrs ms mx messrs dr drs prof St Mt Ft Gen Rep Sen Gov capt lt col cmdr maj sgt Rev Hon Supt
    vs viz cf hr hrn Fr frl dipl Ing bzw vgl ggf evtl bspw sog inkl exkl zzgl insb bzgl ca mio mrd
    tsd geb str hrsg engl frz österr ehem mme mmes mlle mlles MM mgr Ste Pr bd boul sr sra srta sres
    dra Dn Dña ud uds vd Lic Arq Gral Cnel Tte excmo ilmo aprox av avda sig sigg dott avv dhr mevr
    bijv exmo exma Eng approx ул пл кв акад проф доц тов напр тыс млн млрд
""")
_PHRASES = "|".join(
    phrase.replace("_", _GAP)
    for phrase in _any("""
        z_B d_h u_a z_T u_U v_a o_g m_a_W i_d_R e_g i_e a_k_a p_ex c_-à-d p_ej p_es d_w_z т_е т_к
    """)[3:-1].split("|")
)
# So do these before a number.
_NUMBERED = _any("""
    Nos Nr fig figs p pp vol vols ch chap sec art abs S Kap Abb Tab Eq Ref cap núm n pág págs pag
    стр рис табл гл ст п д Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Okt Dez janv févr juill
    c tel max min
""")
# And these before a small letter, as all runs of consonants do. A capital one begins a sentence.
_SHORT = _any("""
    etc usw ecc al est esp resp incl excl orig prov univ assoc inc ltd co corp ave ed eds trans abb
    bes ugs lat gen adj adv sing plur ext dept Jr abk gest verh allg entspr eigtl urspr ugf gegr
    bras env hab fam UU обл коп руб
""")
_COUNTED = _any("""
    Januar Jänner Februar März April Mai Juni Juli August September Oktober November Dezember
    Jahrhundert Weltkrieg Klasse Stock Auflage Kapitel Mal Lebensjahr
""")
_ARTICLES = _any("der die das dem den im vom zum zur beim")
# Words that begin a sentence, and no name: they decide after "U.S." and other single letters.
_BEGINNINGS = _any("""
    The He She It They We You This That These Those There But And So If When What Who Why How Then
    Where Which Whose Whom Is Are Was Were Does Did
    His Her Its Their My Our However Der Die Das Er Sie Es Wir Ich Und Aber Dann Doch Il Elle Nous
    Vous Je Mais Ella Yo Pero Lo Gli
""")


def _keep(before: str, after: str = "") -> tuple[str, str]:
    """The rule that no sentence ends between two patterns."""
    return f"({before}){_END}({after})", r"\1\2"


_ABBREVIATED = [
    _keep(f"{_BEFORE}(?:[{_LETTER}]|[{_CONSONANT}]{{2,5}}|{_SHORT}|[0-9]{{1,3}})\\.", _CONTINUED),
    _keep(f"{_BEFORE}(?:[{_LOWER}]|[{_CONSONANT}]{{2,5}}|{_SHORT})\\.", f"{_SPACES}[0-9]"),
    _keep(f"{_BEFORE}(?:[{_LOWER}]|EE)\\.", f"{_SPACES}(?:[{_LETTER}]|Chr|UU)\\."),
]
_RULES = [
    # What stands for the mark, should a text have it.
    ("\x1f", "\x1ff"),
    (_END, "\x1fe"),
    # Where sentences may end: before white space, after a wide mark, between ideographs.
    (f"([{_MARK}]{_CLOSED}{{0,4}}(?:[ \xa0\u202f]»)?)([{SPACE}])", rf"\1{_END}\2"),
    (f"([{_WIDE}][{_WIDE}!?…]{{0,8}}{_WIDE_CLOSED})", rf"\1{_END}"),
    (f"([{_IDEOGRAPH}][!?]{{1,4}}{_WIDE_CLOSED})([{_IDEOGRAPH}])", rf"\1{_END}\2"),
    # Not where the text goes on.
    _keep(f"(?:\\.\\.|…){_CLOSED}{{0,4}}|{_CLOSED}", _CONTINUED),
    _keep("[!?]", f"{_SPACES}[–—]{_SPACES}[{_LOWER}]"),
    _keep("", f"[{SPACE}]{{0,9}}[,;:.!?…)\\]}}、，]"),
    _keep("．", "[0-9０-９]"),
    _keep("[」』]", "[とっがをはにのもでな]"),
    _keep('[”"」]', "[他她我它你您]们?[说道问喊叫答]"),
    # Nor after initials, but before a word that begins a sentence.
    _keep(f"{_BEFORE}[{_INITIAL}]\\."),
    _keep(f"{_BEFORE}I\\.", f"{_SPACES}[{_INITIAL}]\\."),
    _keep(f"{_BEFORE}[{_INITIAL}]\\.[{SPACE}]?I\\."),
    (f"({_BEFORE}[{_INITIAL}]\\.)([{SPACE}]{_BEGINNINGS}[{SPACE}])", rf"\1{_END}\2"),
    # Nor after other abbreviations. Twice, as a match takes the letter in front of the next.
    *_ABBREVIATED,
    *_ABBREVIATED,
    _keep(f"{_BEFORE}(?:{_TITLES}|{_PHRASES})\\."),
    _keep(f"(?:{_BEFORE}{_NUMBERED}|[a-z]str)\\.", f"{_SPACES}(?:[0-9]|[IVX]{{1,5}}[^{_LETTER}])"),
    _keep(f"{_BEFORE}[Nn]o\\.", f"{_SPACES}[0-9]"),  # of "No. I do." the first is a sentence
    _keep(f"{_BEFORE}(?:al|etc|usw|ecc|ff)\\.", f"{_SPACES}[(\\[]"),
    # Nor after ordinal numbers, and those of lists.
    _keep("[0-9]\\.", f"{_SPACES}{_COUNTED}"),
    _keep(f"{_BEFORE}{_ARTICLES}[{SPACE}][0-9]{{1,3}}\\."),
    _keep(f"(?:^|\n|{_END})[{SPACE}]{{0,9}}\\(?(?:[0-9]{{1,3}}|[{_LETTER}]|[ivxIVX]{{2,4}})\\."),
    # White space goes with the sentence before it, and a line is never more than one.
    (f"{_END}+([{SPACE}]+)", rf"\1{_END}"),
    (f"{_END}?(\n[\n{SPACE}]*)", rf"\1{_END}"),
]
_UNESCAPE = (("\x1fe", _END), ("\x1ff", "\x1f"))


def split_sentences(text: str) -> list[str]:
    """Splits a text into its sentences.

    A line break always ends one. Abbreviations, initials, ordinal numbers, decimals, versions and
    addresses do not; marks of Chinese, Japanese, Hindi and other scripts need no white space after
    them.

    Args:
        text: Any number of sentences and lines.

    Returns:
        The sentences, each with the white space after it: joined, they are the text.

    Example:

    >>> split_sentences("Dr. Roe paid 3.5 dollars. Why? 他走了。她没走。")
    ['Dr. Roe paid 3.5 dollars. ', 'Why? ', '他走了。', '她没走。']
    """
    for pattern, rewrite in _compiled():
        text = pattern.sub(rewrite, text)
    sentences = [sentence for sentence in text.split(_END) if sentence]
    for escaped, character in _UNESCAPE:
        sentences = [sentence.replace(escaped, character) for sentence in sentences]
    return sentences


@functools.cache
def _compiled() -> list[tuple[re.Pattern, str]]:
    return [(re.compile(pattern), rewrite) for pattern, rewrite in _RULES]


def split_sentences_tensor(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits texts (B,) in the graph as `split_sentences` does: strings (B, None)."""
    import tensorflow as tf  # here, as files are read with these rules before there is a model

    for pattern, rewrite in _RULES:
        texts = tf.strings.regex_replace(texts, pattern, rewrite)
    sentences = tf.strings.split(texts, _END)
    sentences = tf.ragged.boolean_mask(sentences, sentences != "")
    for escaped, character in _UNESCAPE:
        sentences = tf.ragged.map_flat_values(
            tf.strings.regex_replace, sentences, escaped, character
        )
    return sentences
