"""A network as C: where its maps lie, its block of constants, and the kernels that compute it.

The kernels (``*.c``, ``*.h``) serve microcontrollers and, as WebAssembly, the page. The table of
layers holds offsets and no pointers; ``maam_nn.h`` says what each field means.
"""
