"""The paper's own figures, and the report that compares them with what tools/check_paper.py measures."""
