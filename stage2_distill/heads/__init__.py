"""CTCFHead makes the lesson of a batch, MKAHead turns it into the losses of Eq. 8 and 9."""
