"""nearest(): the known phrases and words that are most like what somebody wrote, by shared words and by spelling."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

# Words that say nothing of a subject: sharing them alone makes nothing near.
FUNCTION_WORDS = frozenset(
    ("a", "an", "and", "at", "for", "from", "in", "is", "not", "of", "on", "or", "the", "to", "with", "without")
)
# Ratio of matching characters from which two words are one word misspelt or its plural, by how many of their first
# letters are the same: grey and gray are alike, santa and ant are not; dancer and dancing have a stem in common.
ALIKE = (0.8, 0.75, 0.75, 0.75, 0.58)
MOST_WORDS, MOST_LETTERS = 16, 24  # longer texts and words are cut: comparing takes time for each
KEPT = 0.5  # of the best score; phrases below it are not near


def likeness(first: str, second: str) -> float:
    """Fraction in [0, 1] of characters that two words share in order (difflib's ratio); 0 where they are not alike."""
    if first == second:
        return 1.0
    if len(first) < 3 or len(second) < 3:
        return 0.0
    same = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    least = ALIKE[min(same, len(ALIKE) - 1)]
    matcher = SequenceMatcher(None, first[:MOST_LETTERS], second[:MOST_LETTERS], autojunk=False)
    if matcher.real_quick_ratio() < least or matcher.quick_ratio() < least:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= least else 0.0


def nearest_words(word: str, known: Sequence[str], limit: int = 1) -> list[str]:
    """At most `limit` of the known words that are spelt like `word`, the likest first."""
    scores = {other: likeness(word, other) for other in known}
    return sorted((other for other in scores if scores[other]), key=lambda other: (-scores[other], other))[:limit]


def nearest(words: Sequence[str], phrases: Sequence[str], limit: int = 3) -> list[str]:
    """At most `limit` of `phrases` that are most like the `words` of a text, the likest first; none where none is near.

    A phrase's score is the Dice coefficient of its words and the text's. Each word weighs the more the fewer phrases
    hold it (log(1 + phrases/count)), function words nothing; a word that no phrase holds counts for the one it is
    spelt like. A text with such a word is also compared without its spaces: teddybear, race car.
    """
    counts = Counter(word for phrase in phrases for word in set(phrase.split()))
    weight = {
        word: 0.0 if word in FUNCTION_WORDS else math.log(1 + len(phrases) / count) for word, count in counts.items()
    }
    wanted = list(dict.fromkeys(words))[:MOST_WORDS]
    unknown_weight = math.log(1 + len(phrases))
    alike: dict[str, float] = {}  # words of phrases to their likeness to a word of the text
    total = 0.0
    for word in wanted:
        found = {word: 1.0} if word in weight else {w: s for w in weight if weight[w] and (s := likeness(word, w))}
        for other, score in found.items():
            alike[other] = max(score, alike.get(other, 0.0))
        total += max((weight[w] for w in found), default=0.0 if word in FUNCTION_WORDS else unknown_weight)
    joined = "" if set(wanted) <= weight.keys() else "".join(wanted)
    scores = {}
    for phrase in phrases:
        own = set(phrase.split())
        shared = sum(alike.get(word, 0.0) * weight[word] for word in own)
        score = 2 * shared / (total + sum(weight[word] for word in own)) if shared else 0.0
        if score := max(score, likeness(joined, phrase.replace(" ", ""))):
            scores[phrase] = score
    best = max(scores.values(), default=0.0)
    kept = [phrase for phrase in scores if scores[phrase] >= KEPT * best]
    return sorted(kept, key=lambda phrase: (-scores[phrase], phrase))[:limit]
