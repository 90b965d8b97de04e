"""Every rule on its own: both sides have the value that the rule's class promises."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.expr import Expr
from graphc.interpret import evaluate
from graphc.rewrite import RULES, Rule, rewrite
from graphc.rewrite.engine import allowed
from rewrite.examples import EXAMPLES, Example, Leaves

SPECIALS = [0.0, -0.0, 1.0, -1.0, 0.5, -3.0, 7.25, np.inf, -np.inf, np.nan]
SPECIALS += [1e-45, -1e-40, 3e38, -2e38, 1e20, 1.1754944e-38, 0.1, 100.5]

CASES = [
    pytest.param(RULES[name], example, id=f"{name}-{i}")
    for name, examples in EXAMPLES.items()
    for i, example in enumerate(examples)
]


def test_every_rule_has_an_example() -> None:
    assert sorted(EXAMPLES) == sorted(RULES)


def test_every_rule_says_what_it_does() -> None:
    for rule in RULES.values():
        assert "->" in rule.doc or rule.doc.endswith("."), rule.name
        assert rule.doc.count(".") >= 1, rule.name


def test_classes() -> None:
    off = [r.name for r in RULES.values() if r.klass == "domain-changing"]
    assert off == ["mul-zero", "sub-self", "div-self", "pow-half"]
    stages = ("fold", "simplify", "stabilize", "expand")
    assert not set(off) & {r.name for r in allowed(stages, strict=False)}
    assert {r.klass for r in allowed(stages, strict=True)} == {"exact"}


def apply_once(rule: Rule, example: Example, dtype: str) -> tuple[Leaves, Expr, Expr]:
    leaves = Leaves(dtype)
    before = example(leaves)
    (after,), fired = rewrite([before], [rule])
    assert fired.get(rule.name, 0) >= 1, f"{rule.name} does not apply"
    assert "stopped" not in fired
    assert after.type == before.type
    return leaves, before, after


def draw(leaf: Expr, rng: np.random.Generator, kind: str) -> np.ndarray:
    shape = tuple(int(s) for s in leaf.shape)  # type: ignore[arg-type]
    if leaf.dtype.is_bool:
        return rng.integers(0, 2, shape).astype(bool)
    if leaf.dtype.is_integer:
        return rng.integers(-2, 7, shape)
    if kind == "special":
        return rng.choice(SPECIALS, shape).astype(leaf.dtype.numpy)
    if kind == "whole":
        return rng.integers(-4, 5, shape).astype(leaf.dtype.numpy)
    return (rng.uniform(0.1, 2.0, shape) * rng.choice([-1, 1], shape)).astype(leaf.dtype.numpy)


def sides(
    leaves: Leaves, before: Expr, after: Expr, kind: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = {leaf: draw(leaf, rng, kind) for leaf in leaves.made.values()}
    one, two = evaluate([before, after], values)
    return one, two


def assert_same_bits(one: np.ndarray, two: np.ndarray) -> None:
    np.testing.assert_array_equal(one, two)
    if one.dtype.kind == "f":
        number = ~np.isnan(one)
        np.testing.assert_array_equal(np.signbit(one)[number], np.signbit(two)[number])


#: Rules whose NumPy evaluation adds in another order, or that inputs of +inf tell apart.
WHOLE_NUMBERS = ("contract-transposed", "transpose-of-contract", "contract-dropped-ones")
WHOLE_NUMBERS += ("contract-letters", "contract-to-mul", "contract-to-sum", "contract-neg")
MODERATE = ("softmax-by-division", "norm-in-double")


@pytest.mark.parametrize(("rule", "example"), CASES)
def test_value(rule: Rule, example: Example) -> None:
    with np.errstate(all="ignore"):
        if rule.klass in ("exact", "sign-of-zero"):
            check_bits(rule, example)
        if rule.klass != "exact" or rule.name in MODERATE:
            check_moderate(rule, example)


def check_bits(rule: Rule, example: Example) -> None:
    leaves, before, after = apply_once(rule, example, "float32")
    for seed in range(20):
        kind = "whole" if rule.name in WHOLE_NUMBERS else "special"
        if rule.name in MODERATE:
            return
        one, two = sides(leaves, before, after, kind, seed)
        if rule.klass == "exact":
            assert_same_bits(one, two)
        else:
            np.testing.assert_array_equal(one, two)


def check_moderate(rule: Rule, example: Example) -> None:
    leaves, before, after = apply_once(rule, example, "float64")
    tolerance = 1e-6 if rule.name == "norm-in-double" else 1e-12
    for seed in range(5):
        one, two = sides(leaves, before, after, "moderate", seed)
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance)
