"""The paper, reproduced: which runs it takes, what they say, and which of its claims hold.

    plan -> runs -> claims -> page

``maam.reproduce`` runs it all. Source of the claims: Qin et al., "MAAM: A Lightweight Multi-Agent
Aggregation Module for Efficient Image Classification Based on the MindSpore Framework".
"""
