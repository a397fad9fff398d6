"""What consumes a finished run on a user's device: prediction, folding, latency. No framework.

What only a framework can do is reached through ``core.frameworks.Backend``.
"""
