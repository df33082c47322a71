"""These are the numeric settings of a process that trains. They are part of a run's digest."""

import ctypes

import torch

THREADS = 1
FLUSH_DENORMALS = True  # moments of an unused head fade into denormals, and these are many times slower
KEEP_MEMORY = 1 << 30  # bytes that glibc keeps for the next step instead of giving them back and faulting them in again
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # the parameters' numbers in malloc.h


def settle() -> None:
    """Put the settings into force in this process."""
    torch.set_num_threads(THREADS)
    torch.set_flush_denormal(FLUSH_DENORMALS)
    keep_memory()


def keep_memory() -> None:
    """Let glibc keep freed memory. Fresh pages for every tensor would take a large part of a step's time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library has ways of its own
        mallopt(M_MMAP_THRESHOLD, KEEP_MEMORY)
        mallopt(M_TRIM_THRESHOLD, KEEP_MEMORY)
