"""What a C file of ours declares: the signatures of its kernels, its records and its faults, read off the text itself.

A signature stands in one place, the definition. C says what Python needs to know: `const T x[rows * dim]` is an array
of so many numbers that is only read. Read strictly: what is not in this form is an error, never a guess, and the
compiler is shown what was read (`prototypes`), so that both sides mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VERSIONS = {"bf16": "uint16_t", "f32": "float"}  # suffix of a kernel's version → its T
NUMBERS = ("int64_t", "float")  # types of a number that is passed as it is
ELEMENTS = ("T", "float", "double", "int64_t")  # types of an array's elements, beside the file's own records

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
KERNEL = re.compile(r"^int NAME\((\w+)\)\(\s*int threads,([^()]*)\)\s*\{", re.MULTILINE)
VISIBLE = re.compile(r"^(?!static\b|typedef\b|enum\b)[A-Za-z_][^;={}#]*\{", re.MULTILINE)
RECORD = re.compile(r"^typedef struct \{([^}]*)\} (\w+);", re.MULTILINE)
FAULTS = re.compile(r"^enum \{ DONE, ([\w, ]+) \};", re.MULTILINE)
NUMBER = re.compile(rf"({'|'.join(NUMBERS)}) (\w+)")
ARRAY = re.compile(r"(NULLABLE )?(const )?(\w+) (\w+)\[([^\]]+)\]")

Sum = tuple[tuple[int, tuple[str, ...]], ...]
"""A sum of products: of a factor and names of parameters."""


class UnreadableC(Exception):
    """C that is not in the form that this reader knows: a mistake in our own source."""


@dataclass(frozen=True)
class Parameter:
    """type: C's, of the number or of the array's elements. count: of elements, for an array; None for a number."""

    name: str
    type: str
    count: Sum | None = None
    const: bool = False
    nullable: bool = False

    def declared(self, number: str) -> str:
        """Its type in a prototype of the version for this number type."""
        kind = number if self.type == "T" else self.type
        return kind if self.count is None else f"{'const ' * self.const}{kind} *"


@dataclass(frozen=True, eq=False)
class CSource:
    """What C files declare together.

    files: what is compiled, and what it includes. kernels: by name, what follows the number of threads. records: the
    fields, all int64_t, in order. faults: names of the codes 1, 2, … that a kernel returns.
    """

    file: Path
    files: tuple[Path, ...]
    kernels: dict[str, tuple[Parameter, ...]]
    records: dict[str, tuple[str, ...]]
    faults: tuple[str, ...]

    @classmethod
    def read(cls, file: Path, *included: Path) -> CSource:
        """
        Raises:
            Unreadable: a kernel or record that is not in the form of this module.
            OSError: a file is not there.
        """
        text = "\n".join(COMMENT.sub(" ", each.read_text(encoding="utf-8")) for each in (*included, file))
        records = {name: tuple(_fields(fields, name)) for fields, name in RECORD.findall(text)}
        kernels = {name: tuple(_parameters(given, name, records)) for name, given in KERNEL.findall(text)}
        if text.count("typedef struct") != len(records):
            raise UnreadableC(f"{file.name}: a record that is not `typedef struct {{ int64_t …; }} Name;`")
        if len(VISIBLE.findall(text)) != len(KERNEL.findall(text)) or len(kernels) != len(KERNEL.findall(text)):
            raise UnreadableC(f"{file.name}: a function that is neither static nor `int NAME(…)(int threads, …)`")
        faults = [name for names in FAULTS.findall(text) for name in names.split(", ")]
        return cls(file, (file, *included), kernels, records, tuple(faults))

    def prototypes(self) -> str:
        """All versions of all kernels as they were read, for the compiler to compare with what it read itself."""
        return "".join(
            f"int {name}_{suffix}({', '.join(['int', *(each.declared(number) for each in parameters)])});\n"
            for name, parameters in self.kernels.items()
            for suffix, number in VERSIONS.items()
        )


def _fields(text: str, record: str) -> Iterator[str]:
    for line in filter(None, (line.strip() for line in text.split(";"))):
        kind, _, names = line.partition(" ")
        if kind != "int64_t" or not re.fullmatch(r"\w+(, \w+)*", names.strip()):
            raise UnreadableC(f"record {record}: `{line}`; expected int64_t and names")
        yield from names.strip().split(", ")


def _parameters(text: str, kernel: str, records: dict[str, tuple[str, ...]]) -> Iterator[Parameter]:
    known: set[str] = {"threads"}
    for given in (" ".join(part.split()) for part in text.split(",")):
        if number := NUMBER.fullmatch(given):
            known |= {number[2]} if number[1] == "int64_t" else set()
            yield Parameter(number[2], number[1])
        elif (array := ARRAY.fullmatch(given)) and array[3] in (*ELEMENTS, *records):
            terms = array[5].replace("-", "+ -1 *").split("+")
            count = tuple(_product(term, known, f"{kernel}: `{given}`") for term in terms)
            yield Parameter(array[4], array[3], count, const=bool(array[2]), nullable=bool(array[1]))
        else:
            raise UnreadableC(
                f"{kernel}: `{given}`; expected a number ({', '.join(NUMBERS)}) or an array of known size"
            )


def _product(text: str, known: set[str], where: str) -> tuple[int, tuple[str, ...]]:
    factor, names = 1, []
    for part in (part.strip() for part in text.split("*")):
        if re.fullmatch(r"-?\d+", part):
            factor *= int(part)
        elif part in known:
            names.append(part)
        else:
            raise UnreadableC(f"{where}: {part} is no int64_t before it; a size is made of those by +, - and *")
    return factor, tuple(names)
