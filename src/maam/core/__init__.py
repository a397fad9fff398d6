"""What everything else stands on: errors, files, signals, options, frameworks, run folders, scores.

Imports nothing else of maam, and no framework.
"""
