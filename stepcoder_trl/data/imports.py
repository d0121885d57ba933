"""
Explicit imports that replace the star imports of datasets.

A star import can shadow builtins: after `from math import *`, `pow` works on floats only. The names are those of
Python 3.10, so that a problem loaded on one version of Python runs on another.
"""

from __future__ import annotations

import ast
import builtins
from functools import lru_cache

from stepcoder_trl.parsing import parse


# Names that `from MODULE import *` binds, except those of builtins (`abs` and `pow` of operator, `pow` of math).
STAR_NAMES = {
    "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
    "collections": "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque namedtuple",
    "functools": (
        "WRAPPER_ASSIGNMENTS WRAPPER_UPDATES cache cached_property cmp_to_key lru_cache partial partialmethod reduce "
        "singledispatch singledispatchmethod total_ordering update_wrapper wraps"
    ),
    "heapq": "heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest",
    "itertools": (
        "accumulate chain combinations combinations_with_replacement compress count cycle dropwhile filterfalse "
        "groupby islice pairwise permutations product repeat starmap takewhile tee zip_longest"
    ),
    "math": (
        "acos acosh asin asinh atan atan2 atanh ceil comb copysign cos cosh degrees dist e erf erfc exp expm1 fabs "
        "factorial floor fmod frexp fsum gamma gcd hypot inf isclose isfinite isinf isnan isqrt lcm ldexp lgamma log "
        "log10 log1p log2 modf nan nextafter perm pi prod radians remainder sin sinh sqrt tan tanh tau trunc ulp"
    ),
    "operator": (
        "add and_ attrgetter concat contains countOf delitem eq floordiv ge getitem gt iadd iand iconcat ifloordiv "
        "ilshift imatmul imod imul index indexOf inv invert ior ipow irshift is_ is_not isub itemgetter itruediv ixor "
        "le length_hint lshift lt matmul methodcaller mod mul ne neg not_ or_ pos rshift setitem sub truediv truth xor"
    ),
    "string": (
        "Formatter Template ascii_letters ascii_lowercase ascii_uppercase capwords digits hexdigits octdigits "
        "printable punctuation whitespace"
    ),
    "typing": (
        "AbstractSet Annotated Any AnyStr AsyncContextManager AsyncGenerator AsyncIterable AsyncIterator Awaitable "
        "BinaryIO Callable ChainMap ClassVar Collection Concatenate Container ContextManager Coroutine Counter "
        "DefaultDict Deque Dict Final ForwardRef FrozenSet Generator Generic Hashable IO ItemsView Iterable Iterator "
        "KeysView List Literal Mapping MappingView Match MutableMapping MutableSequence MutableSet NamedTuple NewType "
        "NoReturn Optional OrderedDict ParamSpec ParamSpecArgs ParamSpecKwargs Pattern Protocol Reversible Sequence "
        "Set Sized SupportsAbs SupportsBytes SupportsComplex SupportsFloat SupportsIndex SupportsInt SupportsRound "
        "TYPE_CHECKING Text TextIO Tuple Type TypeAlias TypeGuard TypeVar TypedDict Union ValuesView cast final "
        "get_args get_origin get_type_hints is_typeddict no_type_check no_type_check_decorator "
        "overload runtime_checkable"
    ),
}

USUAL_MODULES = (
    *("bisect", "collections", "copy", "datetime", "fractions", "functools", "heapq", "itertools", "math", "operator"),
    *("random", "re", "string", "sys", "time"),
)
_EXCLUDED = {"bisect", "e"}  # `bisect` must stay the module; `math.e` would hide a misspelt variable

_BUILTIN_NAMES = sorted(
    name
    for name in dir(builtins)
    if name.islower() and name.isalpha() and name not in {"copyright", "credits", "exit", "license", "quit"}
)


def _import_from(module: str) -> str:
    names = ", ".join(name for name in STAR_NAMES[module].split() if name not in _EXCLUDED)
    return f"from {module} import {names}\n"


MODULE_IMPORTS = "".join(f"import {module}\n" for module in USUAL_MODULES)

# Names that the harnesses of APPS and APPS+ put in scope, except numpy.
# `typing` comes first, so that `Counter` is the one of collections.
USUAL_IMPORTS = MODULE_IMPORTS + "".join(
    map(_import_from, ("typing", "bisect", "collections", "functools", "heapq", "itertools", "math"))
)


@lru_cache(maxsize=64)  # most rows of a dataset have the same imports
def explicit_imports(source: str) -> str:
    """
    Replace star imports by explicit imports that shadow no builtin, and drop comments.

    Star imports of modules outside [`STAR_NAMES`] stay, followed by an import of the builtins. Code that does not
    parse is returned unchanged.
    """
    tree = parse(source)
    if tree is None:
        return source
    return ast.unparse(ast.fix_missing_locations(_StarImports().visit(tree))) + "\n"


class _StarImports(ast.NodeTransformer):
    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.AST]:
        if node.names[0].name != "*":
            return node
        if node.level == 0 and node.module in STAR_NAMES:
            return ast.ImportFrom(node.module, _aliases(STAR_NAMES[node.module].split()), 0)
        return [node, ast.ImportFrom("builtins", _aliases(_BUILTIN_NAMES), 0)]


def _aliases(names: list[str]) -> list[ast.alias]:
    return [ast.alias(name) for name in names]
