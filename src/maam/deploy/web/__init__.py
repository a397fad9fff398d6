"""The page: one HTML file that classifies pictures in a browser, its parts, and how it is served.

May import what ``deploy`` may. The JavaScript and CSS here go into the page as they are; page.c and
the kernels in C are compiled to the two .wasm files by ``make wasm``.
"""
