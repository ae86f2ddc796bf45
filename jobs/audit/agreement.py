"""How far people agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

from jobs.formats import Agreement


def agreement(answers: Iterable[Sequence[str]]) -> Agreement | None:
    """The agreement of people; answers: for each item, what those who judged it said. None when none was judged twice.

    Krippendorff's alpha for nominal data (Content Analysis, 2004, chapter 11) allows any number of people, who need not
    have judged the same items. It is 1 minus the disagreement that was observed over that expected by chance.
    """
    items = [answer for answer in answers if len(answer) > 1]
    if not items:
        return None
    pairs = [one == other for answer in items for one, other in combinations(answer, 2)]
    # Each item's pairs weigh together as much as its answers.
    observed = sum(
        sum(one != other for one, other in combinations(answer, 2)) * 2 / (len(answer) - 1) for answer in items
    )
    counts = Counter(value for answer in items for value in answer)
    total = counts.total()
    expected = (total**2 - sum(count**2 for count in counts.values())) / (total - 1)
    return Agreement(
        boxes=len(items),
        share=sum(pairs) / len(pairs),
        alpha=1 - observed / expected if expected else None,
    )
