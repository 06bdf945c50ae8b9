"""Labels as the files of other tools: COCO, CVAT, Label Studio; training labels as a data set."""
