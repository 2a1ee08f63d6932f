"""What every table of a fault script has in common. Pure."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A frozen table of TOML; a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
