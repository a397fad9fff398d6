"""pydantic; or, where it is not installed, what a bare checkout needs of it to train.

A machine that only trains a queue (``maam.training.campaign``) may have PyTorch and little else.
There, options have the same names and defaults, unknown ones are refused, and types and ranges are
not checked: the machine that wrote the recipe has checked them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

try:
    import pydantic  # noqa: F401
except ModuleNotFoundError:
    CHECKED = False
else:
    CHECKED = True

if TYPE_CHECKING or CHECKED:
    from pydantic import (
        BaseModel,
        ConfigDict,
        Field,
        FiniteFloat,
        PositiveInt,
        ValidationError,
    )
else:
    ConfigDict, FiniteFloat, PositiveInt = dict, float, int

    class ValidationError(ValueError):
        """An option that the schema does not have."""

        def __init__(self, key: str, value: object) -> None:
            super().__init__(key)
            self._error = {"type": "extra_forbidden", "loc": (key,), "input": value, "msg": ""}

        def errors(self) -> list[dict[str, Any]]:
            return [self._error]

    def Field(default: object = None, **limits: object) -> Any:
        return default

    class BaseModel:
        """Fields with their defaults, taken from the class."""

        model_fields: ClassVar[dict[str, Any]] = {}

        def __init_subclass__(cls) -> None:
            own = {name: getattr(cls, name, None) for name in cls.__annotations__}
            cls.model_fields = {**cls.model_fields, **own}

        def __init__(self, **options: Any) -> None:
            for key, value in options.items():
                if key not in self.model_fields:
                    raise ValidationError(key, value)
            vars(self).update({**self.model_fields, **options})

        @property
        def model_fields_set(self) -> set[str]:
            return {key for key, value in vars(self).items() if value != self.model_fields[key]}

        @classmethod
        def model_validate(cls, values: dict[str, Any]) -> None:
            """Checks nothing."""

        def model_copy(self, update: dict[str, Any]) -> Any:
            return type(self)(**{**vars(self), **update})

        def model_dump(
            self, mode: str = "python", exclude_none: bool = False, exclude: set[str] | None = None
        ) -> dict[str, Any]:
            plain = {k: str(v) if hasattr(v, "__fspath__") else v for k, v in vars(self).items()}
            return {
                key: value
                for key, value in plain.items()
                if key not in (exclude or ()) and not (exclude_none and value is None)
            }


__all__ = [
    "CHECKED",
    "BaseModel",
    "ConfigDict",
    "Field",
    "FiniteFloat",
    "PositiveInt",
    "ValidationError",
]
