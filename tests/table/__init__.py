"""The op table: a row for each form of each op, by family; tests/test_ops.py has the body of checks for all."""

import importlib
import pkgutil

FAMILIES = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__) if m.name != "row"]
ROWS = [row for family in FAMILIES for row in family.ROWS]
