"""The paper's tables and figures, one file each: first the numbers, then a picture."""
