"""The command lines of stage 1, and what the command lines of both stages share."""
