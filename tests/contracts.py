"""A contract for import-linter: some words may be used in their owners' modules only. `make lint` checks it."""

import re
import tokenize
from pathlib import Path

from importlinter import Contract, ContractCheck, fields, output


class SoleOwnerContract(Contract):
    """Names and numbers that match `words` occur in the modules of `owners` only. Comments and texts do not count.

    words: a regular expression for a whole name or number. owners: modules, or packages with everything in them.
    """

    words = fields.StringField()
    owners = fields.ListField(subfield=fields.StringField())

    def check(self, graph, verbose) -> ContractCheck:
        owners = tuple(self.owners)
        others = (
            module for module in graph.modules if not any(module == o or module.startswith(f"{o}.") for o in owners)
        )
        found = [use for module in sorted(others) for use in self.uses(module)]
        return ContractCheck(kept=not found, metadata={"found": found})

    def uses(self, module: str) -> list[str]:
        """Each use of a word in a module of this repository, as "path:line: word"."""
        path = Path(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not path.exists():  # a package from elsewhere
            return []
        with path.open("rb") as stream:
            tokens = list(tokenize.tokenize(stream.readline))
        return [
            f"{path}:{token.start[0]}: {token.string}"
            for token in tokens
            if token.type in (tokenize.NAME, tokenize.NUMBER) and re.fullmatch(self.words, token.string)
        ]

    def render_broken_contract(self, check) -> None:
        for use in check.metadata["found"]:
            output.print_error(f"{use} belongs to {', '.join(self.owners)}")
