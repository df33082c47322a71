"""`figures` draws what a table's numbers leave out, from the records of its runs and the ledger of its search.

courses.py    what is drawn: the finished runs of each row, and their accuracies
panels.py     figures of panels, their titles and captions
curves.py     accuracy after each task
matrices.py   accuracy on each task after each task
plane.py      forgetting against intransigence
strips.py     the final accuracy of each run
ranks.py      mean ranks, and which differences they show
strengths.py  accuracy on held-out data by strength
draw.py       all of them, and their files

A file of a kind of figure has one function `draw`. It returns Drawn: the figure, its caption, and what to see in it.
"""
