"""Files: tensors and checkpoints that are whole or not there."""
