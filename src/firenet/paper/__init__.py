"""Table 1 of Colbrook, Antun, Hansen (PNAS 2022), and experiments with the theorems of this paper, with pictures."""
