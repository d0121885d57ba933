"""
Restore or detect interpreter state that a program changes between two tests in one process.

`Baseline` restores the state that is cheap to restore. `ModuleStates` compares modules with their state before the
program ran. After a change that cannot be undone, the remaining tests run in a new process.
"""

from __future__ import annotations

import atexit
import builtins
import decimal
import gc
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from operator import is_
from types import CodeType, ModuleType
from typing import Any


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names of modules and functions that change state which a comparison of modules does not show.
_HIDDEN_STATE = _words("""
    asyncio ctypes exec faulthandler importlib locale logging multiprocessing signal tracemalloc __import__
    addaudithook BasicContext DefaultContext ExtendedContext closerange dup2 field_size_limit register_at_fork
    register_dialect unregister_dialect register_error setdefaulttimeout setlocale setprofile settrace set_threshold
    set_debug set_asyncgen_hooks set_coroutine_origin_tracking_depth set_int_max_str_digits setswitchinterval
    register setfirstweekday seterr seterrcall set_printoptions set_string_function tzset umask
""")
# Module attributes that the executor or Python itself replaces.
_VOLATILE_NAMES = _words("""
    stdin stdout stderr __stdin__ __stdout__ last_exc last_type last_value last_traceback settrace gettrace _exit
    __warningregistry__ modules path_importer_cache
    setrecursionlimit getrecursionlimit
    _trace_hook _active_limbo_lock _shutdown_locks_lock _shutdown_locks _counter
""")
_CONTAINERS = (list, dict, set)
_UNWATCHED = ("stepcoder_trl", "coverage", "encodings")
_HEAP_TYPE = 1 << 9


class Baseline:
    """Interpreter state that is restored between two tests."""

    def __init__(self) -> None:
        self.builtins = dict(builtins.__dict__)
        self.recursion_limit = sys.getrecursionlimit()
        self.path = list(sys.path)
        self.arguments = list(sys.argv)
        self.stderr = sys.stderr
        self.environment = dict(os.environ)
        self.directory = os.getcwd()
        self.random_state = random.getstate()
        self.decimal_context = decimal.getcontext().copy()
        self.exit_handlers = atexit._ncallbacks()

    def has_threads_or_handlers(self) -> bool:
        """Return whether the program left threads or exit handlers behind."""
        executors = sys.modules.get("concurrent.futures.thread")
        return (
            threading.active_count() > 1
            or atexit._ncallbacks() != self.exit_handlers
            or bool(executors is not None and executors._threads_queues)
        )

    def restore_builtins(self) -> None:
        """Restore the builtins, which our own functions need."""
        if builtins.__dict__ != self.builtins:
            builtins.__dict__.clear()
            builtins.__dict__.update(self.builtins)

    def restore(self) -> None:
        """Restore the rest. Call it only if the modules used here are unchanged."""
        sys.setrecursionlimit(self.recursion_limit)
        sys.path[:] = self.path
        sys.argv[:] = self.arguments
        sys.stderr = self.stderr
        if os.environ != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        os.chdir(self.directory)
        random.setstate(self.random_state)
        decimal.setcontext(self.decimal_context.copy())
        _count_threads_from_the_start()
        threading.stack_size(0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()


def _count_threads_from_the_start() -> None:
    """Let the names of new threads begin with `Thread-1` and `ThreadPoolExecutor-0_0` again."""
    threading._counter = count(1).__next__  # type: ignore[attr-defined]
    executors = sys.modules.get("concurrent.futures.thread")
    if executors is not None:
        executors.ThreadPoolExecutor._counter = count().__next__


@dataclass(frozen=True)
class _Namespace:
    """Saved attributes of a module or class: names, values, and copies of containers."""

    attributes: Mapping[str, Any]
    names: tuple[str, ...]
    values: tuple[Any, ...]
    size: int
    contents: tuple[tuple[Any, Any], ...]

    def is_unchanged(self) -> bool:
        known = self.attributes
        return (
            all(map(is_, map(known.get, self.names), self.values))
            and (len(known) <= self.size or not any(self._additions()))
            and all(map(_same_content, self.contents))
        )

    def _additions(self) -> Iterator[bool]:
        """Yield whether each new attribute is state. Submodules are not: importing them sets them in the package."""
        for name, value in self.attributes.items():
            if name not in self.names and name not in _VOLATILE_NAMES:
                yield type(value) is not ModuleType


def _namespace(attributes: Mapping[str, Any], is_module: bool) -> _Namespace:
    items = [(name, value) for name, value in attributes.items() if name not in _VOLATILE_NAMES]
    # Private containers are caches, so they are not copied.
    containers = [value for name, value in items if is_module and type(value) in _CONTAINERS and name[0] != "_"]
    return _Namespace(
        attributes=attributes,
        names=tuple(name for name, _ in items),
        values=tuple(value for _, value in items),
        size=len(attributes),
        contents=tuple((value, value.copy()) for value in containers),
    )


def _same_content(pair: tuple[Any, Any]) -> bool:
    now, before = pair
    if len(now) != len(before):
        return False
    if type(now) is dict:
        return all(map(is_, map(now.get, before), before.values()))
    return all(map(is_, now, before)) if type(now) is list else bool(now == before)


class ModuleStates:
    """Saved state of all modules and their classes. The forker creates it, and again after it has loaded a module."""

    def __init__(self) -> None:
        self._modules = dict(sys.modules)
        self._states: list[tuple[frozenset[str], tuple[_Namespace, ...]]] = []
        for name, module in self._modules.items():
            parts = name.split(".")
            if parts[0][0] != "_" and parts[0] not in _UNWATCHED:
                self._states.append((frozenset(parts), tuple(_namespaces(module))))

    def watch(self, names: frozenset[str]) -> ModuleWatch:
        """Select the modules that a program with these names in its code may change. `names_in` finds the names."""
        hidden = not names.isdisjoint(_HIDDEN_STATE) or ("numpy" in names and "random" in names)
        return ModuleWatch(
            always=hidden,
            modules=self._modules,
            named=tuple((name, self._modules[name]) for name in names & self._modules.keys()),
            namespaces=tuple(state for parts, states in self._states if parts <= names for state in states),
        )


@dataclass(frozen=True)
class ModuleWatch:
    """Modules that one program names in its code, and so may change."""

    always: bool  # whether the program uses names that change hidden state
    modules: Mapping[str, ModuleType]
    named: tuple[tuple[str, ModuleType], ...]
    namespaces: tuple[_Namespace, ...]

    def has_changed(self) -> bool:
        """Return whether the program changed state that the next test would see."""
        return (
            self.always
            or not all(sys.modules.get(name) is module for name, module in self.named)
            or self._may_have_imported_state()
            or not all(namespace.is_unchanged() for namespace in self.namespaces)
        )

    def _may_have_imported_state(self) -> bool:
        """Return whether modules were imported whose earlier state is unknown. Private modules do not count."""
        if len(sys.modules) == len(self.modules):
            return False
        return any(name[0] != "_" and name[:9] != "encodings" for name in sys.modules.keys() - self.modules.keys())


def _namespaces(module: ModuleType) -> Iterator[_Namespace]:
    if type(module) is not ModuleType:
        return
    yield _namespace(module.__dict__, is_module=True)
    package = module.__name__.partition(".")[0]
    for value in tuple(module.__dict__.values()):
        # Types implemented in C cannot be changed.
        # `isinstance` would call the object, and some objects warn.
        if not (issubclass(type(value), type) and value.__flags__ & _HEAP_TYPE):
            continue
        if str(value.__module__).partition(".")[0] == package:  # `json.JSONEncoder` is a class of `json.encoder`
            yield _namespace(value.__dict__, is_module=False)


def names_in(code: CodeType) -> frozenset[str]:
    """Return all global names, imported names and attribute names in a program's code, nested functions included."""
    nested = (names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(code.co_names).union(*nested)
