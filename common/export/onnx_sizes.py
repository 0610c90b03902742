"""Open sizes as ONNX nodes: the arithmetic that jax.export prints, such as `7 - floordiv(b, 2)`."""

import ast
from collections.abc import Callable, Mapping

_BINARY = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Pow: "Pow"}
_FUNCTIONS = {"mod": "Mod", "max": "Max", "min": "Min"}


def computed(
    text: str,
    symbols: Mapping[str, str],
    number: Callable[[int], str],
    node: Callable[..., str],
) -> str:
    """Adds the nodes that compute a size.

    Args:
      text: what JAX prints of the size: Python, but for its powers, `b^2`.
      symbols: int64 tensors `[1]` by the name of an open size.
      number: makes such a tensor of a number.
      node: adds a node, of a kind and names of inputs, and returns the name of its output.

    Returns:
      The name of an int64 tensor `[1]`.

    Raises:
      ValueError: something that JAX has no sizes of.
    """

    def visit(tree: ast.expr) -> str:
        match tree:
            case ast.Constant(value=int(value)):
                return number(value)
            case ast.Name(id=name) if name in symbols:
                return symbols[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return node("Neg", visit(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return node(_BINARY[type(op)], visit(left), visit(right))
            case ast.Call(func=ast.Name(id="floordiv"), args=[whole, part]):
                whole, part = visit(whole), visit(part)
                rest = node("Mod", whole, part)  # of the divisor's sign, as Python's
                return node("Div", node("Sub", whole, rest), part)  # ONNX's rounds to zero
            case ast.Call(func=ast.Name(id=name), args=[first, second]) if name in _FUNCTIONS:
                return node(_FUNCTIONS[name], visit(first), visit(second))
        raise ValueError(f"{ast.unparse(tree)!r} in the size {text!r} is unknown")

    return visit(ast.parse(text.replace("^", "**"), mode="eval").body)
