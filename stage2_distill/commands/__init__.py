"""The command lines of stage 2."""
