"""The challenge's score and its submissions.

metrics.py     the score, from sums over pixels
submission.py  tarballs: writing, reading, and the command `validate`
evaluate.py    the command `evaluate`
"""
