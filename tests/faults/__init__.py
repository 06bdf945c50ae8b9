"""What goes wrong on purpose: kills, full disks, flipped bits, hostile files. ``make faults`` is the long form."""
