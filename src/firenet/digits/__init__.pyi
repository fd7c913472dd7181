from firenet.digits.determined import Digits as Digits, Witness as Witness, determine as determine
