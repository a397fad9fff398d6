"""A training, from options to a finished run folder, without a framework.

    options -> data -> network -> folder (setup) -> backend.fit (run) -> finalize

A framework is reached only as a ``core.frameworks.Backend``. Imports core, data, models, native and
report; the frameworks import this, never the other way.
"""
