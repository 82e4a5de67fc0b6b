"""A contract file, closed at every depth: the part of the Open Data Contract Standard 3.1 that we
act on, and what only describes. Any other word is a fault, for a contract that says more than we
hold to would grant more than it seems to.

What ODCS leaves to `customProperties` is closed too: `agency`, `legalBasis` and `open311` of the
contract, `rowFilter` of a table, `grant` of a column, each at most once.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from open_data_contract_standard.model import OpenDataContractStandard
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from common.definition_files import Unreadable, faults_of, read_yaml

Text = Annotated[str, Field(min_length=1)]
DatasetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""Files are named after it."""


def read_contract_file(path: Path) -> "ContractFile":
    """What the file says. Raises Unreadable with every fault at once."""
    content = read_yaml(path)
    try:
        found = ContractFile.model_validate(content)
        OpenDataContractStandard.model_validate(content)
    except ValidationError as error:
        raise Unreadable(faults_of(error)) from None
    return found


class Closed(BaseModel):
    """Unknown words are refused, with the word that was likely meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_word(cls, value: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if isinstance(value, dict):
            _require_known([str(name) for name in value], known)
        return value


def _require_known(said: Sequence[str], known: Sequence[str]) -> None:
    faults = []
    by_letters = {name.lower(): name for name in known}
    for name in said:
        if name not in known:
            near = get_close_matches(name.lower(), by_letters, n=1)
            meant = f"; is `{by_letters[near[0]]}` meant?" if near else ""
            faults.append(f"`{name}` is not held to here and may not stand here{meant}")
    faults += [f"`{name}` stands twice" for name in sorted(set(said)) if said.count(name) > 1]
    if faults:
        raise ValueError("; ".join(faults))


class CustomProperty(Closed):
    property: Text
    value: Any
    description: str = ""


class _OnlyThese:
    """Of customProperties: only these, each at most once."""

    def __init__(self, *known: str) -> None:
        self.known = known

    def __call__(self, said: tuple[CustomProperty, ...]) -> tuple[CustomProperty, ...]:
        _require_known([one.property for one in said], self.known)
        return said


class Described(Closed):
    """What describes and restricts nothing: its content is the writer's own."""

    id: str | None = None
    businessName: str | None = None  # noqa: N815
    tags: Any = None
    authoritativeDefinitions: Any = None  # noqa: N815


class Property(Described):
    """One granted column, under its name in the schema home."""

    name: Text
    description: str | None = None
    customProperties: Annotated[  # noqa: N815
        tuple[CustomProperty, ...], AfterValidator(_OnlyThese("grant"))
    ] = ()


class SchemaObject(Described):
    """One granted table."""

    name: DatasetName
    description: str | None = None
    physicalName: Text  # noqa: N815
    physicalType: Literal["table"] | None = None  # noqa: N815
    logicalType: Literal["object"] | None = None  # noqa: N815
    customProperties: Annotated[  # noqa: N815
        tuple[CustomProperty, ...], AfterValidator(_OnlyThese("rowFilter"))
    ] = ()
    properties: tuple[Property, ...] = Field(min_length=1)


class Description(Closed):
    purpose: Text
    usage: str | None = None


class ContractFile(Described):
    """The whole file. Only an `active` contract is in force."""

    apiVersion: Literal["v3.1.0"]  # noqa: N815
    kind: Literal["DataContract"]
    id: Text
    version: Text
    status: Literal["proposed", "draft", "active", "deprecated", "retired"]
    name: str | None = None
    domain: str | None = None
    tenant: str | None = None
    dataProduct: str | None = None  # noqa: N815
    contractCreatedTs: Any = None  # noqa: N815
    team: Any = None
    support: Any = None
    description: Description
    customProperties: Annotated[  # noqa: N815
        tuple[CustomProperty, ...], AfterValidator(_OnlyThese("agency", "legalBasis", "open311"))
    ]
    schema_: tuple[SchemaObject, ...] = Field(min_length=1, alias="schema")


def said(holder: ContractFile | SchemaObject | Property) -> dict[str, CustomProperty]:
    """The custom properties by name."""
    return {one.property: one for one in holder.customProperties}
