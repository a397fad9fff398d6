"""Our C++ operators in MindSpore; each falls back on MindSpore's own where it can't serve."""
