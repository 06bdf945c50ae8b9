"""The losses of WeSAM: tensors in, scalars out. Logits of any floating type are computed with in float32."""
