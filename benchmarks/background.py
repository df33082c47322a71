"""Calls that may never return."""

import threading
from collections.abc import Callable
from concurrent.futures import Future


def background(function: Callable, *arguments, **options) -> Future:
    """Call a function that may never return, in a thread that ends with the process."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments, **options))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
