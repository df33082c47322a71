"""Student's t distribution. scipy.stats has the same to the bit, and takes as long to import as a table to print."""

from scipy.special import stdtr, stdtrit


def sf(t, freedom):
    """Return P(T > t). Arrays broadcast."""
    return stdtr(freedom, -t)


def isf(p, freedom):
    """Return the t above which P(T > t) = p. Arrays broadcast."""
    return -stdtrit(freedom, p)
