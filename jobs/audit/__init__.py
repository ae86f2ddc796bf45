"""Turns what people say about a sample of a run into statements about the whole run.

The statistics are pure functions of numbers: `intervals.py` (shares), `threshold.py` (from which score on), `counts.py`
(corrected totals), `agreement.py` (several people). `verdicts.py` reads what people said, `judge.py` makes the
statements, and `page.py` makes the page on which people look at the sample.
"""
