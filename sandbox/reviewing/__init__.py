"""What a person reads before signing: the document, the difference in it, and what is suspicious about a change.

`review` puts the document together, `diffs` and `textdiff` show the difference, `hazards` finds what a reviewer must
know first (`surface`: where code runs, `content`: what hides in it), `subject` is one target's part of it all.
"""
