"""Contractions take transposes, axes of size 1, repeated operands and factors into account."""

from __future__ import annotations

from graphc.expr import Expr
from graphc.ops import elementwise as ew
from graphc.ops.contraction import contract, parse
from graphc.ops.movement import broadcast_to, reshape, transpose
from graphc.ops.reduction import sum as sum_over
from graphc.ops.table import Op
from graphc.rewrite.engine import EXACT, REASSOCIATING, SIGN_OF_ZERO, rule
from graphc.rewrite.match import aligned, is_one, is_scalar, known_size
from graphc.types import Shape


@rule("contract", EXACT, has="transpose")
def contract_transposed(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """contract(transpose(x), y) -> contract(x, y) with the letters of x in its own order."""
    left, right, out = parse(node.attrs["subscripts"])
    if "transpose" not in (x.op.name, y.op.name):
        return None
    left, x = _untransposed(left, x)
    right, y = _untransposed(right, y)
    return contract(f"{left},{right}->{out}", x, y)


def _untransposed(letters: str, x: Expr) -> tuple[str, Expr]:
    if x.op.name != "transpose":
        return letters, x
    places = x.attrs["axes"]
    return "".join(letters[places.index(a)] for a in range(len(letters))), x.args[0]


@rule("transpose", EXACT, of="contract")
def transpose_of_contract(node: Expr, x: Expr) -> Expr:
    """transpose(contract(x, y)) -> contract(x, y), its letters in another order."""
    left, right, out = parse(x.attrs["subscripts"])
    moved = "".join(out[a] for a in node.attrs["axes"])
    return contract(f"{left},{right}->{moved}", *x.args)


@rule("contract", EXACT, has="reshape")
def contract_dropped_ones(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """Axes of size 1 that a reshape added to an operand are left out of a contraction."""
    left, right, out = parse(node.attrs["subscripts"])
    new_left, new_x = _squeezed(left, x)
    new_right, new_y = _squeezed(right, y)
    if new_x is x and new_y is y:
        return None
    present = set(new_left + new_right)
    if any(not ((c in new_left) + (c in new_right) + (c in out) > 1) for c in present):
        return None
    new_out = "".join(c for c in out if c in present)
    return reshape(contract(f"{new_left},{new_right}->{new_out}", new_x, new_y), node.shape)


def _squeezed(letters: str, x: Expr) -> tuple[str, Expr]:
    """An operand before the reshape that gave it axes of size 1, and its letters."""
    if x.op.name != "reshape":
        return letters, x
    inner = x.args[0]
    kept = "".join(c for c, size in zip(letters, x.shape, strict=True) if not is_one(size))
    plain = tuple(s for s in x.shape if not is_one(s))
    if inner.ndim >= x.ndim or inner.shape != plain:
        return letters, x
    return kept, inner


@rule("contract", SIGN_OF_ZERO, has="neg")
def contract_neg(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """contract(-x, y) -> -contract(x, y), so for y."""
    subscripts = node.attrs["subscripts"]
    if x.op is ew.neg:
        return -contract(subscripts, x.args[0], y)
    return -contract(subscripts, x, y.args[0]) if y.op is ew.neg else None


@rule("contract", REASSOCIATING, has="mul div")
def contract_scaled(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """contract(c * x, y) -> c * contract(x, y) for c of rank 0 (so x / c), where the
    result is known to be smaller than x."""
    subscripts = node.attrs["subscripts"]
    for side, operand in enumerate((x, y)):
        split = _scalar_factor(operand)
        if split is None or not _smaller(node.shape, operand.shape):
            continue
        op, rest, c = split
        product = contract(subscripts, *((rest, y) if side == 0 else (x, rest)))
        return op(product, c)
    return None


def _scalar_factor(x: Expr) -> tuple[Op, Expr, Expr] | None:
    """(mul or div, y, c) where x is y * c or y / c and c has rank 0."""
    if x.op not in (ew.mul, ew.div):
        return None
    y, c = x.args
    if x.op is ew.mul and is_scalar(y):
        y, c = c, y
    return (x.op, y, c) if is_scalar(c) and not is_scalar(y) else None


def _smaller(a: Shape, b: Shape) -> bool:
    size_a, size_b = known_size(a), known_size(b)
    return size_a is not None and size_b is not None and size_a < size_b


@rule("contract", REASSOCIATING, has="broadcast_to")
def contract_repeated(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """contract(broadcast_to(x), y) over a repeated axis of x -> x and the sum of y over it."""
    left, right, out = parse(node.attrs["subscripts"])
    for la, a, lb, b in ((left, x, right, y), (right, y, left, x)):
        found = _without_repeated(la, a, lb, b, out)
        if found is not None:
            return found
    return None


def _without_repeated(la: str, a: Expr, lb: str, b: Expr, out: str) -> Expr | None:
    """The contraction with the axes that ``a`` repeats summed out of ``b`` beforehand."""
    if a.op.name != "broadcast_to":
        return None
    inner = reshape(a.args[0], aligned(a.args[0].shape, a.ndim))
    sides = zip(la, inner.shape, a.shape, strict=True)
    repeated = [c for c, own, full in sides if is_one(own) and not is_one(full)]
    if not repeated:
        return None
    summed = [c for c in repeated if c not in out]
    if summed:
        b = sum_over(b, [lb.index(c) for c in summed])
        lb = "".join(c for c in lb if c not in summed)
    sizes = dict(zip(la, a.shape, strict=True)) | dict(zip(lb, b.shape, strict=True))
    la_kept = "".join(c for c in la if c not in repeated)
    a = reshape(inner, tuple(s for c, s in zip(la, inner.shape, strict=True) if c in la_kept))
    order = "".join(c for c in out if c in la_kept or c in lb)
    if set(la_kept) & set(lb) - set(out):
        product = contract(f"{la_kept},{lb}->{order}", a, b)
    else:
        product = placed(la_kept, a, order) * placed(lb, b, order)
    full = tuple(sizes[c] for c in out)
    spread = tuple(sizes[c] if c in order else 1 for c in out)
    product = broadcast_to(product, tuple(sizes[c] for c in order))
    return broadcast_to(reshape(product, spread), full)


def placed(letters: str, x: Expr, order: str) -> Expr:
    """Axes in the order of ``order``, with size 1 where a letter is missing."""
    present = [c for c in order if c in letters]
    moved = transpose(x, [letters.index(c) for c in present])
    sizes = dict(zip(present, moved.shape, strict=True))
    return reshape(moved, tuple(sizes.get(c, 1) for c in order))


_LETTERS = "ijklmnopqrstuvwxyzabcdefghABCDEFGHIJKLMNOPQRSTUVWXYZ"


@rule("contract", EXACT)
def contract_letters(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """Letters are named i, j, k... by their first place, so that equal contractions are one."""
    subscripts = node.attrs["subscripts"]
    letters = dict.fromkeys(c for c in subscripts if c.isalpha())
    new = dict(zip(letters, _LETTERS, strict=False))
    plain = "".join(new.get(c, c) for c in subscripts)
    return None if plain == subscripts else contract(plain, x, y)
