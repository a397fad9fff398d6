# MindSpore ships no types, and what pyright infers from its source is wrong in many places.
from typing import Any

def __getattr__(name: str) -> Any: ...
