"""What each kernel is called with, family by family: sides of 0, 1, odd, and beyond a block."""

from . import images, places, randomness, rows, sequences, sums
from .case import DTYPES as DTYPES

CASES = [case for family in (rows, sums, images, places, randomness, sequences) for case in family.CASES]
