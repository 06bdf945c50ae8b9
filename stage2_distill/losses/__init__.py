"""The losses of the paper, one file each: functions of tensors, and the classes that a config builds."""
