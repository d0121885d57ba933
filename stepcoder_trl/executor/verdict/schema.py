"""
Check the `tests` of a problem, and hold them in checked form.

Every error is a [`BadInputError`]. Its message names the place, the field, the value, what is allowed and the fix.
"""

from __future__ import annotations

import ast
import math
import symtable
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from keyword import iskeyword
from typing import Any, NoReturn

from stepcoder_trl.errors import BadInputError, NoTestsError
from stepcoder_trl.executor.verdict.limits import MIN_MEMORY_LIMIT_BYTES
from stepcoder_trl.executor.verdict.modules import asserts_of_module
from stepcoder_trl.executor.verdict.untranslatable import UntranslatableError
from stepcoder_trl.executor.wire.codec import MAX_CHARACTERS, MAX_DEPTH, MAX_ITEMS
from stepcoder_trl.jsonl import parse_json, shown
from stepcoder_trl.parsing import any_digits, quiet_parser, syntax_tree


OPTIONAL_FIELDS = ("preamble", "timeout_s", "memory_limit_bytes", "float_tolerance", "trusted")
_MAX_CHECKED_CHARACTERS = MAX_CHARACTERS // 2  # of one test; a checker also gets what a program prints
FIELDS = {
    "stdio": ("inputs", "outputs", "fn_name"),
    "call": ("fn_name", "inputs", "outputs"),
    "assert": ("setup", "asserts"),
    "unittest": ("code",),
    "checker": ("inputs", "outputs", "checker"),
}


class Tests(Mapping[str, Any]):
    """
    Tests of one problem, checked once.

    Create them with [`Tests.parse`]. They are a read-only mapping with the fields of the object.

    Executors accept them wherever they accept the object or its JSON text, and do not check them again. An executor
    also prepares them only once, and keeps the result in `prepared`, which is neither compared nor pickled. So keep
    this object while you run many programs of one problem.
    """

    __test__ = False  # not a pytest class

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)
        self.prepared: dict[Any, Any] = {}

    @classmethod
    def parse(cls, tests: Mapping[str, Any] | str, where: str = "`tests`") -> Tests:
        """Check tests as [`validate_tests`] does. Parsed tests are returned as they are."""
        return tests if isinstance(tests, Tests) else cls(validate_tests(tests, where))

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Tests({shown(self._fields)})"

    def __reduce__(self) -> tuple[type[Tests], tuple[dict[str, Any]]]:
        return Tests, (self._fields,)


@any_digits()
def validate_tests(tests: Mapping[str, Any] | str, where: str = "`tests`") -> dict[str, Any]:
    """
    Check the tests of one problem and normalize them.

    The forms are

    - `{"type": "stdio", "inputs": [str], "outputs": [str], "fn_name"?: str}`
    - `{"type": "call", "fn_name": str, "inputs": [[argument]], "outputs": [value]}`
    - `{"type": "assert", "setup"?: str, "asserts": [str]}`
    - `{"type": "unittest", "code": str}`, a module of pytest or unittest, which is returned as assert tests
    - `{"type": "checker", "inputs": [str], "outputs": [str], "checker": str}`, Python whose
      function `check(input, expected, output)` says whether an output is right

    each with an optional `preamble` (str), `timeout_s` (seconds, above 0), `memory_limit_bytes` (int),
    `float_tolerance` (number, at least 0) and `trusted` (bool). Tables fill in missing fields, so `None` counts as
    absent, and so does an empty field of another form.

    Returns a copy with the fields of its form, and the optional fields that were given. Assert tests always have
    `setup`. Tuples become lists. White space around asserts is removed.

    Raises:
        BadInputError: If a field is missing, unknown or of the wrong type, or if there is no test. The message names
            the place `where`, e.g. `"problems.jsonl:3"`.
    """
    return _TestsChecker(where).tests(tests)


def count_tests(tests: Mapping[str, Any]) -> int:
    """Return the number of tests that [`validate_tests`] returned."""
    return len(tests["asserts" if tests["type"] == "assert" else "inputs"])


class _TestsChecker:
    """Check the fields of tests. Error messages name the place `where`."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.items_left = self.characters_left = 0

    def fail(self, message: str) -> NoReturn:
        raise BadInputError(f"{self.where}: {message}")

    def wrong(self, field: str, value: Any, allowed: str, fix: str) -> NoReturn:
        self.fail(f"`tests.{field}` is {shown(value)}, but must be {allowed}. {fix}")

    def tests(self, tests: Mapping[str, Any] | str) -> dict[str, Any]:
        given = self.as_object(tests)
        kind = given.get("type")
        if not isinstance(kind, str) or kind not in FIELDS:
            found = "is missing" if kind is None else f"is {shown(kind)}"
            allowed = '`"stdio"`, `"call"`, `"assert"`, `"unittest"` and `"checker"`'
            self.fail(f"`tests.type` {found}; allowed are {allowed}. Set it to the form of your tests.")
        self.no_unknown_fields(kind, given)
        try:
            checked = _FORMS[kind](self, given)
        except RecursionError:
            self.fail("`tests` holds code that is nested too deeply. Flatten it or drop the row.")
        return {"type": "assert" if kind == "unittest" else kind, **checked, **self.optional(given)}

    def as_object(self, tests: Mapping[str, Any] | str) -> dict[str, Any]:
        if isinstance(tests, str):
            if not tests.strip():
                self.fail("`tests` is empty. Give at least one test, or drop the row.")
            try:
                tests = parse_json(tests)
            except ValueError as error:
                self.fail(f"`tests` is not valid JSON: {error}. Write it with `json.dumps`.")
        if not isinstance(tests, Mapping):
            self.fail(
                f"`tests` is {shown(tests)}, but must be an object, or its JSON text, such as "
                '`{"type": "stdio", "inputs": ["1\\n"], "outputs": ["2\\n"]}`.'
            )
        return {key: value for key, value in tests.items() if value is not None}

    def no_unknown_fields(self, kind: str, given: Mapping[str, Any]) -> None:
        allowed = ("type", *FIELDS[kind], *OPTIONAL_FIELDS)
        for name, value in given.items():
            is_empty = isinstance(value, (str, list, tuple)) and len(value) == 0
            if name in allowed or (is_empty and any(name in fields for fields in FIELDS.values())):
                continue
            import difflib  # only for this message, and slow to load

            close = difflib.get_close_matches(str(name), allowed, n=1)
            fix = f"Did you mean `{close[0]}`?" if close else "Remove it."
            names = ", ".join(f"`{field}`" for field in allowed)
            self.fail(f'`tests.{name}` is not a field of `"{kind}"` tests, which have {names}. {fix}')

    def stdio(self, given: Mapping[str, Any]) -> dict[str, Any]:
        fix = "Each is the whole text of one test, line ends included."
        checked: dict[str, Any] = {
            field: [self.text(f"{field}[{n}]", value, fix) for n, value in enumerate(self.entries(field, given))]
            for field in ("inputs", "outputs")
        }
        self.same_length(checked)
        if "fn_name" in given:
            checked["fn_name"] = self.function_name(given)
        return checked

    def call(self, given: Mapping[str, Any]) -> dict[str, Any]:
        checked: dict[str, Any] = {"fn_name": self.function_name(given), "inputs": []}
        for index, arguments in enumerate(self.entries("inputs", given)):
            field = f"inputs[{index}]"
            if not isinstance(arguments, (list, tuple)):
                self.wrong(field, arguments, "a list of arguments", "Wrap a single argument in a list: `[argument]`.")
            checked["inputs"].append(self.value(field, arguments))
        outputs = enumerate(self.entries("outputs", given))
        checked["outputs"] = [self.value(f"outputs[{index}]", value) for index, value in outputs]
        self.same_length(checked)
        return checked

    def asserts(self, given: Mapping[str, Any]) -> dict[str, Any]:
        setup = self.code("setup", given.get("setup", ""))
        asserts = []
        for index, statement in enumerate(self.entries("asserts", given)):
            field = f"asserts[{index}]"
            text = self.text(field, statement, "Write Python source as one string.").strip()
            if not text:
                self.wrong(field, statement, "a Python statement", "Remove the empty one.")
            asserts.append(self.code(field, text))
            if all(map(_cannot_fail, syntax_tree(text).body)):
                self.wrong(field, text, "a statement that can fail", "Write `assert condition, message`.")
        return {"setup": setup, "asserts": asserts}

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        source = self.code("checker", given.get("checker", ""))
        defines = (node for node in syntax_tree(source).body if isinstance(node, ast.FunctionDef))
        if not any(node.name == "check" for node in defines):
            fix = "Define `def check(input, expected, output):`, which returns whether the output is right."
            self.wrong("checker", source, "Python with a function `check`", fix)
        checked = self.stdio(given)
        for number, (text, expected) in enumerate(zip(checked["inputs"], checked["outputs"], strict=True)):
            if len(text) + len(expected) > _MAX_CHECKED_CHARACTERS:
                self.fail(
                    f"`tests.inputs[{number}]` and `tests.outputs[{number}]` are too large for a checker: more than "
                    f"{_MAX_CHECKED_CHARACTERS} characters. Shorten the test, or leave it out."
                )
        return {**checked, "checker": source}

    def module(self, given: Mapping[str, Any]) -> dict[str, Any]:
        code = self.code("code", given.get("code", ""))
        try:
            translated = asserts_of_module(code)
        except UntranslatableError as error:
            self.fail(f"`tests.code` cannot be run: {error}. Rewrite the test or drop the row.")
        if not translated.asserts:
            problem = f"{self.where}: `tests.code` has no test: no function or method whose name begins with `test`."
            raise NoTestsError(f"{problem} Give at least one test, or drop the row.")
        return translated._asdict()

    def optional(self, given: Mapping[str, Any]) -> dict[str, Any]:
        checked: dict[str, Any] = {}
        if given.get("preamble", "") != "":
            checked["preamble"] = self.code("preamble", given["preamble"])
        if "timeout_s" in given:
            value, allowed = given["timeout_s"], "a number of seconds above 0"
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self.wrong("timeout_s", value, allowed, "Write `3.0` for three seconds, without quotes.")
            if not (value > 0 and _is_finite(value)):
                self.wrong("timeout_s", value, allowed, "Leave the field out for the default limit.")
            checked["timeout_s"] = float(value)
        if "memory_limit_bytes" in given:
            value = given["memory_limit_bytes"]
            allowed = f"a whole number of bytes, at least {MIN_MEMORY_LIMIT_BYTES} (1 MiB)"
            if isinstance(value, bool) or not isinstance(value, int) or value < MIN_MEMORY_LIMIT_BYTES:
                self.wrong("memory_limit_bytes", value, allowed, "Write 536870912 for 512 MiB.")
            checked["memory_limit_bytes"] = value
        if "float_tolerance" in given:
            value, allowed = given["float_tolerance"], "a number of at least 0"
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (is_number and value >= 0 and _is_finite(value)):
                self.wrong("float_tolerance", value, allowed, "Write `1e-6`, without quotes.")
            checked["float_tolerance"] = float(value)
        if "trusted" in given:
            value = given["trusted"]
            if not isinstance(value, bool):
                fix = "Write false if the tests can only run with the program, where it may forge their results."
                self.wrong("trusted", value, "true or false", fix)
            checked["trusted"] = value
        return checked

    def entries(self, field: str, given: Mapping[str, Any]) -> Sequence[Any]:
        if field not in given:
            self.fail(f"`tests.{field}` is missing. Give a list with one entry per test.")
        value = given[field]
        if not isinstance(value, (list, tuple)):
            self.wrong(field, value, "a list with one entry per test", "Put a single test in a list: `[...]`.")
        if not value:
            problem = f"{self.where}: `tests.{field}` is empty: there is no test at all."
            raise NoTestsError(f"{problem} Give at least one test, or drop the row.")
        return value

    def same_length(self, checked: Mapping[str, Any]) -> None:
        inputs, outputs = len(checked["inputs"]), len(checked["outputs"])
        if inputs != outputs:
            self.fail(
                f"`tests.inputs` has {inputs} entries and `tests.outputs` {outputs}, but each test needs one of both. "
                "Add the missing entries or remove the extra ones."
            )

    def function_name(self, given: Mapping[str, Any]) -> str:
        if "fn_name" not in given:
            self.fail("`tests.fn_name` is missing. Name the function that the tests call.")
        name = given["fn_name"]
        name = unicodedata.normalize("NFKC", name) if isinstance(name, str) else name  # as Python has it
        if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
            fix = "Write the bare name of a function, or of a method of `Solution`"
            self.wrong("fn_name", name, "the name of a function", f"{fix}: `two_sum`, not `Solution().two_sum`.")
        return name

    def text(self, field: str, value: Any, fix: str) -> str:
        if not isinstance(value, str):
            self.wrong(field, value, "a str", fix)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            self.fail(
                f"`tests.{field}` holds a lone surrogate at character {error.start}. UTF-8 cannot encode it. "
                "Replace it."
            )
        return value

    def code(self, field: str, value: Any) -> str:
        text = self.text(field, value, "Write Python source as one string.")
        error = _syntax_error(text)
        if error is not None:
            self.fail(f"`tests.{field}` is {shown(text)}, but must be Python: {error}. Correct it or drop the row.")
        return text

    def value(self, field: str, value: Any) -> Any:
        self.items_left, self.characters_left = MAX_ITEMS, MAX_CHARACTERS
        try:
            return self.plain(field, value)
        except RecursionError:
            self.fail(
                f"`tests.{field}` is nested too deeply: more than {MAX_DEPTH} levels. Flatten it or drop the row."
            )

    def charge(self, field: str, items: int, characters: int) -> None:
        """Count the size of a value. Refuse it where it exceeds what a message may hold."""
        self.items_left -= items
        self.characters_left -= characters
        if self.items_left < 0 or self.characters_left < 0:
            self.fail(
                f"`tests.{field}` is too large: more than {MAX_ITEMS} elements or {MAX_CHARACTERS} characters. "
                "Shorten it or drop the row."
            )

    def plain(self, field: str, value: Any, depth: int = 0) -> Any:
        if type(value) is int and value.bit_length() > 62:
            self.charge(field, 1, value.bit_length() // 4)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            self.charge(field, 0, len(value))
            return value
        if depth >= MAX_DEPTH:
            raise RecursionError
        if isinstance(value, (list, tuple)):
            self.charge(field, len(value), 0)
            return [self.plain(field, item, depth + 1) for item in value]
        fix = "Use null, true/false, numbers, strings, lists and objects with string keys."
        if not isinstance(value, dict):
            self.wrong(field, value, "made of JSON values", fix)
        for key in value:
            if not isinstance(key, str):
                self.wrong(field, value, "made of JSON values", f"The key {shown(key)} is not a string. {fix}")
        self.charge(field, 1 + 4 * len(value), sum(map(len, value)))  # as `codec.encode` counts them
        return {key: self.plain(field, item, depth + 2) for key, item in value.items()}


_FORMS = {
    "stdio": _TestsChecker.stdio,
    "call": _TestsChecker.call,
    "assert": _TestsChecker.asserts,
    "unittest": _TestsChecker.module,
    "checker": _TestsChecker.checked,
}


def _is_finite(value: float) -> bool:
    """Return whether a number can be a finite float. An int may be too large."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


@lru_cache(maxsize=1024)  # many rows of a dataset share their preamble
def _syntax_error(text: str) -> str | None:
    """Return why a text is not Python, or `None` if it is. Some errors, as in `def f(a, a)`, only its scopes show."""
    try:
        with quiet_parser():
            symtable.symtable(text, "<tests>", "exec")
    except SyntaxError as error:
        return f"{error.msg}, line {error.lineno}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or "it is nested too deeply"
    return None


def _cannot_fail(node: ast.stmt) -> bool:
    """Return whether a statement passes always: a comparison that nobody reads, or `assert (value, message)`."""
    match node:
        case ast.Expr(value=value):
            return _is_comparison(value)
        case ast.Assert(test=ast.Tuple(elts=elements)):
            return bool(elements)
    return False


def _is_comparison(node: ast.expr) -> bool:
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _is_comparison(operand)
        case ast.BoolOp(values=values):
            return all(map(_is_comparison, values))
    return isinstance(node, ast.Compare)
