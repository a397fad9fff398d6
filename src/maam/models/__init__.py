"""What both frameworks know of the models: registry, shapes of agents, algebra of folding.

No framework is imported here, and nothing is computed but on NumPy arrays.
"""

from maam.models.registry import describe_model, list_models, register_model

__all__ = ["describe_model", "list_models", "register_model"]
