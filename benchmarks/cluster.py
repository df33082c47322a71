"""An executor whose workers are those of a cluster: dask.distributed's scheduler and workers.

What the engine leaves open is settled here. A run is placed on one worker that is free, so that no run waits behind
another of this sweep, and a worker that refused is not asked again. A run that only waited on a worker that died is
placed anew and not blamed. Each result is let go as soon as it has been read. No wait is without a limit. A future that
ends as cancelled, though nobody here cancelled it, means that the scheduler is gone.
"""

import json
import resource
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks import cluster_worker, engine
from benchmarks.engine import ANSWER
from benchmarks.executors import Lost
from methods.base.errors import UserError

FETCH = 60.0  # seconds that a worker may take to hand a result over
LOOK = 1.0  # seconds between two looks at the workers
LIMIT = 24 * 3600.0  # seconds that a run may take
NO_WORKER = 3600.0  # seconds without any worker; a queue may be long
MOVES = 10  # times that a run is placed anew without blame
AHEAD = 8  # runs at hand for workers that become free or join


@dataclass(eq=False)
class _Call:
    """A call, its future, and where it is now."""

    function: str
    text: str
    future: Future = field(default_factory=Future)
    moves: int = 0
    name: str = ""  # of this placement
    address: str = ""
    handle: object = None  # the engine's future
    placed: float = 0.0
    fetched: Future | None = None  # what it gave back
    ended: Future | None = None  # where it is stopped since it took too long: what still holds on to it
    missed: int = 0  # looks in which its worker was not there


class Cluster(Executor):
    """Work on futures on the workers of a scheduler. say: what tells the user of a worker that is not used."""

    tries = 3  # of a run whose worker dies

    def __init__(self, address: str, say: Callable[[str], None]):
        self._address, self._say = address, say
        self._client = engine.connect(address)
        self._topic = f"suite-{uuid.uuid4().hex}"
        self._begun: dict[str, float] = {}
        self._incoming: deque[_Call] = deque()
        self._placed: dict[str, _Call] = {}  # by the address of the worker
        self._workers: dict[str, str] = {}  # address -> name of those that can be used
        self._unusable: dict[str, str] = {}  # address -> why
        self._said: set[str] = set()
        self._alone_since, self._are_there = time.monotonic(), False  # are_there: workers, yet none to be used
        self._wake, self._closing, self._failure = threading.Event(), False, None
        self._expected = engine.background(engine.measured_here).result(ANSWER)
        self._versions = cluster_worker.all_versions()
        try:
            self._check_settings()
            self._client.subscribe_topic(self._topic, self._note_begin)
            self._look()
        except BaseException:
            self._close()
            raise
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def n(self) -> int:
        """Return how many futures may be unfinished. It grows with the workers, within this process's open files."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(1, min(len(self._workers) + AHEAD, files // 2))

    def submit(self, function, text: str, /) -> Future:
        """Return the future of benchmarks.worker's `check` or `work` of a job's text."""
        call = _Call(function.__name__, text)
        self._incoming.append(call)
        self._wake.set()
        if self._failure is not None:  # before, or by now
            raise self._failure
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster. With `cancel_futures`, end the runs at work there; else none may be unfinished."""
        self._closing = True
        self._wake.set()
        self._watcher.join(ANSWER)
        at_work = list(self._placed.values()) if cancel_futures and self._failure is None else []
        if at_work and (left := engine.stop(self._client, at_work)):
            self._say(f"runs may still be at work on {len(left)} workers, end them: {', '.join(left[:3])}")
        self._close()

    def _close(self) -> None:
        with suppress(Exception):
            engine.background(self._client.close, 5).result(ANSWER)

    def _note_begin(self, event: tuple) -> None:
        self._begun[event[1]] = time.monotonic()

    def _watch(self) -> None:
        looked = time.monotonic()
        try:
            while not self._closing:
                self._wake.wait(0.2)
                self._wake.clear()
                for call in list(self._placed.values()):
                    self._follow(call)
                if time.monotonic() - looked > LOOK:
                    self._look()
                    looked = time.monotonic()
                    self._judge()
                self._place()
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Give every future the error. No later one is taken."""
        self._failure = error
        while self._incoming or self._placed:
            call = self._incoming.popleft() if self._incoming else self._placed.popitem()[1]
            call.future.set_exception(error)

    def _gone(self, why: str) -> UserError:
        return UserError(
            f"the scheduler at {self._address} {why}: finished runs are kept; start it and its workers again, "
            "and give the same command"
        )

    def _asked(self, function: Callable, *arguments, **options):
        """Return what the scheduler answers. UserError says that it does not."""
        try:
            return engine.background(function, *arguments, **options).result(ANSWER)
        except ModuleNotFoundError as error:
            raise self._gone(f"cannot import {error.name} (it must be started in a checkout)") from error
        except Exception as error:
            raise self._gone(f"does not answer ({type(error).__name__})") from error

    def _check_settings(self) -> None:
        """Refuse a scheduler that would start a deadly run again by itself, or wait for a silent worker for ever."""
        failures, ttl = self._asked(self._client.run_on_scheduler, cluster_worker.settings)
        if failures != 0 or not ttl:
            raise UserError(
                f"the scheduler at {self._address} has allowed-failures {failures} and worker-ttl {ttl}: needed are 0 "
                "and some minutes, in its own configuration, as `make cluster-scheduler` sets them"
            )

    def _look(self) -> None:
        """Ask the scheduler which workers there are."""
        identity = self._asked(self._client.sync, self._client.scheduler.identity, n_workers=-1)
        found, self._workers = identity["workers"], {}
        for address, seen in found.items():
            name, threads = str(seen["name"]), seen["nthreads"]
            if threads != 1:
                self._exclude(address, f"it has {threads} threads, a worker needs 1: start it with --nthreads 1", name)
            if seen["status"] == "running" and address not in self._unusable:
                self._workers[address] = name
        for address, call in self._placed.items():
            call.missed = 0 if address in found else call.missed + 1
        self._are_there = not set(found).isdisjoint(self._unusable)
        if found:
            self._alone_since = time.monotonic()

    def _judge(self) -> None:
        """Give up if nobody can do the work, or nobody comes."""
        if self._workers or self._placed:
            return
        if self._are_there:
            reasons = "; ".join(dict.fromkeys(self._unusable.values()))
            raise UserError(f"none of the workers of {self._address} can be used: {reasons}")
        if time.monotonic() - self._alone_since > NO_WORKER:
            raise UserError(f"no worker came to {self._address} in {NO_WORKER / 60:.0f} minutes: make cluster-worker")
        self._say_once("nobody", f"no worker is at {self._address} yet: make cluster-worker CLUSTER={self._address}")

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._say(text)

    def _exclude(self, address: str, why: str, name: str) -> None:
        """Use a worker no more. The same reason is said once, however many workers have it."""
        if address not in self._unusable:
            self._unusable[address] = why
            self._workers.pop(address, None)
            self._say_once(why, f"worker {name} is not used: {why}")

    def _place(self) -> None:
        """Give each free worker a call."""
        free = (address for address in self._workers if address not in self._placed)
        while self._incoming and (address := next(free, None)):
            call = self._incoming.popleft()
            call.name, call.address, call.placed = f"suite-{uuid.uuid4().hex}", address, time.monotonic()
            call.missed, call.fetched, call.ended = 0, None, None
            asked = {"name": call.name, "topic": self._topic, "do": call.function, "job": call.text}
            call.handle = self._client.submit(
                cluster_worker.call,
                json.dumps(asked | {"versions": self._versions}),
                key=call.name,
                pure=False,
                retries=0,
                workers=[address],
                allow_other_workers=False,
            )
            self._placed[address] = call
            call.handle.add_done_callback(lambda handle: self._wake.set())

    def _follow(self, call: _Call) -> None:
        """Look how a placed call stands. The engine's callbacks may be lost, so its state is read."""
        if call.ended is not None:
            if call.ended.done():
                self._give_up(call)
        elif call.fetched is not None:
            if call.fetched.done():
                self._take(call)
        elif call.handle.status in ("finished", "error"):
            call.fetched = engine.background(call.handle.result, FETCH)
            call.fetched.add_done_callback(lambda fetched: self._wake.set())
        elif call.handle.status != "pending":
            raise self._gone("is gone or has given up our runs")
        elif call.missed > 1:
            self._again(call)  # the worker left, and nobody else may take what was placed on it
        elif time.monotonic() - self._begun.get(call.name, call.placed) > LIMIT:
            call.ended = engine.background(engine.stop, self._client, [call])

    def _give_up(self, call: _Call) -> None:
        """Leave a run that took too long, and its worker, too, if that does not let go of it."""
        name = self._workers.get(call.address, call.address)
        self._release(call)
        if call.ended.result():
            self._exclude(call.address, "it does not let go of a run that took too long", name)
        call.future.set_exception(Lost(f"took more than {LIMIT / 3600:.3g} hours"))

    def _take(self, call: _Call) -> None:
        """Read what a worker gave back, and let it go."""
        error = call.fetched.exception()
        kind = type(error).__name__
        if error is None:
            text = call.fetched.result()
            self._release(call)
            self._read(call, text)
        elif kind in ("CancelledError", "FutureCancelledError"):
            raise self._gone("is gone or has given up our runs")
        elif kind == "KilledWorker" and (call.name in self._begun or call.moves >= MOVES):
            self._release(call)
            call.future.set_exception(Lost("died or was cut off (out of memory?)"))
        elif call.moves >= MOVES:
            self._release(call)
            call.future.set_exception(Lost(f"gave nothing back ({kind}: {error})"))
        elif isinstance(error, TimeoutError):
            call.fetched = None  # its state says more: a worker that died after a run leaves it pending
            call.moves += 1
        else:
            self._again(call)
        if kind == "KilledWorker":
            self._workers.pop(call.address, None)  # it is gone; the next look would tell

    def _read(self, call: _Call, text: str) -> None:
        answer = json.loads(text)
        name = self._workers.get(call.address, call.address)
        if "fault" in answer:
            call.future.set_exception(Lost(f"gave nothing back ({answer['fault']})"))
            return
        unlike = answer.get("refused") or []
        if not unlike and answer["measured"] is not None:
            seen, wanted = answer["measured"], self._expected
            unlike = [[f"its setting {key}", seen[key], wanted[key]] for key in wanted if seen[key] != wanted[key]]
        if not unlike:
            call.future.set_result(answer["outcome"])
            return
        sides = ", ".join(f"{what}: {there} there, {here} here" for what, there, here in unlike)
        self._exclude(call.address, f"{sides}; make both alike and start the worker anew", name)
        self._incoming.appendleft(call)

    def _again(self, call: _Call) -> None:
        """Place a call anew, without blame."""
        self._release(call)
        call.moves += 1
        self._incoming.appendleft(call)

    def _release(self, call: _Call) -> None:
        """Take a call from its worker, and its result from the cluster."""
        del self._placed[call.address]
        self._begun.pop(call.name, None)
        if call.handle.status == "pending":
            call.handle.cancel()
        call.handle.release()
