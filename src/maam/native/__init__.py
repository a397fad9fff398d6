"""C++ operators of our own for a CPU, and how they are built. No framework.

``mindspore/*.cc`` and ``torch/*.cc`` are compiled for the very machine when a network first asks
for them; ``maam.mindspore.ops`` and ``maam.torch.ops`` call them.
"""
