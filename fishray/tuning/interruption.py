"""Ctrl-C, SIGTERM and SIGUSR1: asked once, a sweep stops in good order; asked twice, at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interruption:
    """Whether somebody wants this process to stop.

    While `deferred`, the first signal is noted, and whoever works looks at `signal` at the next good moment. Otherwise,
    and with the second signal, it raises KeyboardInterrupt where it strikes.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._is_deferred = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        self._before = {each: signal.getsignal(each) for each in SIGNALS}
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]

    def listen(self) -> None:
        """Take the signals; again behind a library that took them for itself."""
        for each in SIGNALS:
            signal.signal(each, self._on_signal)

    @property
    def by_the_system(self) -> bool:
        """Whether it was no person at the keyboard: a scheduler may well start this process again."""
        return self.signal in (signal.SIGTERM, signal.SIGUSR1)

    @property
    def exit_status(self) -> int:
        """What a shell expects of a process that a signal has ended."""
        return 128 + (self.signal or signal.SIGINT)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Leave it to the work to stop, unless it is asked twice."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        again = self.signal is not None
        self.signal = self.signal or signal.Signals(number)
        if again or not self._is_deferred:
            raise KeyboardInterrupt
