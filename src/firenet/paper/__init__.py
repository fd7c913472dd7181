"""The paper's tables and figures, one file each: numbers first, a picture second."""
